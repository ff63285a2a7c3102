// The curve over time, an axis, the playhead, and the moment with two ends to drag: by mouse, finger or keys.

import {$, element} from "./api.js";
import {clock} from "./format.js";

const SHORTEST = 0.1; // seconds of a moment
const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200]; // seconds between labels
const LABEL_PIXELS = 72;
const ZOOM_BELOW = 1 / 15; // share of the video that a moment takes, below which it is looked at closely
const AROUND = 4; // lengths of the moment that are seen on either side of it
const MIN_VIEW = 20; // seconds

export class Timeline extends EventTarget {
  duration = 1;
  moment = null; // [start, end] in seconds
  #view = [0, 1];
  #curve = null;
  #time = 0;

  constructor() {
    super();
    this.root = $("timeline");
    this.handles = [$("start"), $("end")];
    this.root.addEventListener("pointerdown", event => this.#scrub(event));
    $("overview").addEventListener("pointerdown", event => this.#jump(event));
    this.handles.forEach((handle, index) => {
      handle.addEventListener("pointerdown", event => this.#drag(event, handle, index));
      handle.addEventListener("keydown", event => this.#press(event, index));
    });
    new ResizeObserver(() => this.#draw()).observe(this.root);
  }

  get zoomed() { return this.#view[1] - this.#view[0] < this.duration - 0.01; }

  open(duration, moment) {
    this.duration = duration;
    this.moment = moment;
    this.#curve = null;
    this.#view = [0, duration];
    if (moment && moment[1] - moment[0] < duration * ZOOM_BELOW) this.zoom(true);
    this.#draw();
  }

  zoom(closely) {
    const [start, end] = this.moment ?? [this.#time, this.#time];
    const half = Math.max(MIN_VIEW / 2, (end - start) * (AROUND + 0.5));
    const middle = (start + end) / 2;
    const length = Math.min(this.duration, 2 * half);
    const first = Math.min(Math.max(0, middle - half), this.duration - length);
    this.#view = closely ? [first, first + length] : [0, this.duration];
    this.#draw();
    this.dispatchEvent(new Event("zoom"));
  }

  setCurve(curve) {
    this.#curve = curve;
    this.#draw();
  }

  setTime(time) {
    this.#time = time;
    const now = this.root.querySelector(".now");
    now.hidden = time < this.#view[0] || time > this.#view[1];
    now.style.left = this.#left(time);
  }

  // Moves one end, or both; what is moved stays within the video and longer than nothing.
  setMoment(start, end) {
    start = Math.min(Math.max(0, start), this.duration - SHORTEST);
    end = Math.min(Math.max(start + SHORTEST, end), this.duration);
    this.moment = [round(start), round(end)];
    this.#draw();
    this.dispatchEvent(new Event("moment"));
  }

  clear() {
    this.moment = null;
    this.#draw();
    this.dispatchEvent(new Event("moment"));
  }

  #setEnd(index, time) {
    const other = this.moment[1 - index];
    if (index === 0) this.setMoment(Math.min(time, other - SHORTEST), other);
    else this.setMoment(other, Math.max(time, other + SHORTEST));
    this.#seek(this.moment[index]);
  }

  #seek(time) {
    this.dispatchEvent(new CustomEvent("seek", {detail: Math.min(Math.max(0, time), this.duration)}));
  }

  #timeAt(event, box = this.root.getBoundingClientRect(), [first, last] = this.#view) {
    return first + (event.clientX - box.left) / box.width * (last - first);
  }

  #follow(event, target, move) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    target.setPointerCapture(event.pointerId);
    const ended = () => {
      target.removeEventListener("pointermove", move);
      target.removeEventListener("pointerup", ended);
      target.removeEventListener("pointercancel", ended);
    };
    target.addEventListener("pointermove", move);
    target.addEventListener("pointerup", ended);
    target.addEventListener("pointercancel", ended);
  }

  #drag(event, handle, index) {
    const grip = this.#timeAt(event) - this.moment[index]; // where the handle is held does not move it
    this.#follow(event, handle, moved => this.#setEnd(index, this.#timeAt(moved) - grip));
    handle.focus();
  }

  #scrub(event) {
    this.#seek(this.#timeAt(event));
    this.#follow(event, this.root, moved => this.#seek(this.#timeAt(moved)));
  }

  #jump(event) {
    const time = this.#timeAt(event, $("overview").getBoundingClientRect(), [0, this.duration]);
    const length = this.#view[1] - this.#view[0];
    const first = Math.min(Math.max(0, time - length / 2), this.duration - length);
    this.#view = [first, first + length];
    this.#draw();
    this.#seek(time);
  }

  #press(event, index) {
    const step = event.shiftKey ? 1 : 0.1;
    const changes = {
      ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageDown: -5, PageUp: 5,
      Home: -Infinity, End: Infinity,
    };
    if (!(event.key in changes) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.#setEnd(index, Math.min(Math.max(0, this.moment[index] + changes[event.key]), this.duration));
  }

  #left(time) {
    const [first, last] = this.#view;
    return `${(time - first) / (last - first) * 100}%`;
  }

  #place(band, moment, [first, last]) {
    band.hidden = !moment || moment[1] <= first || moment[0] >= last;
    if (band.hidden) return;
    const [start, end] = [Math.max(moment[0], first), Math.min(moment[1], last)];
    band.style.left = `${(start - first) / (last - first) * 100}%`;
    band.style.width = `${(end - start) / (last - first) * 100}%`;
  }

  #draw() {
    this.#place(this.root.querySelector(".band"), this.moment, this.#view);
    this.handles.forEach((handle, index) => {
      const time = this.moment?.[index];
      handle.hidden = time === undefined || time < this.#view[0] || time > this.#view[1];
      if (time === undefined) return;
      handle.style.left = this.#left(time);
      handle.setAttribute("aria-valuemin", index ? round(this.moment[0] + SHORTEST) : 0);
      handle.setAttribute("aria-valuemax", index ? round(this.duration) : round(this.moment[1] - SHORTEST));
      handle.setAttribute("aria-valuenow", time);
      handle.setAttribute("aria-valuetext", clock(time));
    });
    $("overview").hidden = !this.zoomed;
    this.#place($("overview").querySelector(".band"), this.moment, [0, this.duration]);
    this.#place($("overview").querySelector(".view"), this.#view, [0, this.duration]);
    this.setTime(this.#time);
    this.#drawCurve();
    this.#drawAxis();
  }

  #drawCurve() {
    const path = this.root.querySelector("path");
    if (!this.#curve) return path.setAttribute("d", "");
    const {start, duration, values} = this.#curve;
    const [first, last] = this.#view;
    const xs = values.map((_, index) => (start + (index + 0.5) / values.length * duration - first) / (last - first));
    const points = values.map((value, index) => [xs[index] * 1000, 100 - 96 * value]).filter(([x]) => x > -200 && x < 1200);
    if (!points.length) return path.setAttribute("d", "");
    const line = points.map(([x, y]) => `L${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    path.setAttribute("d", `M${points[0][0].toFixed(1)} 104${line}L${points.at(-1)[0].toFixed(1)} 104Z`);
  }

  #drawAxis() {
    const [first, last] = this.#view;
    const width = this.root.clientWidth || 600;
    const step = STEPS.find(seconds => (last - first) / seconds <= width / LABEL_PIXELS) ?? STEPS.at(-1);
    const labels = [];
    for (let time = Math.ceil(first / step) * step; time <= last + 1e-6; time += step) {
      const label = element("span", {}, clock(time, step < 1 ? 1 : 0));
      label.style.left = this.#left(time);
      label.classList.toggle("last", (last - time) / (last - first) * width < 24);
      labels.push(label);
    }
    $("axis").replaceChildren(...labels);
  }
}

const round = time => Math.round(time * 100) / 100;
