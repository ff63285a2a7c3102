// The answers, the best first: a picture, a short preview under the pointer, times, name and score.

import {$, element, media, still} from "./api.js";
import {count, span} from "./format.js";

const PREVIEW_AFTER = 250; // milliseconds under the pointer
const STILLS = 4, STILL_EVERY = 700; // of a video that cannot be played

export class Hits extends EventTarget {
  hits = [];
  #buttons = [];
  #current = -1;

  constructor() {
    super();
    $("weak").addEventListener("click", () => this.showWeak());
  }

  get current() { return this.hits[this.#current] ?? null; }
  get rank() { return this.#current + 1; }

  show(answer) {
    this.hits = answer.hits;
    this.#current = -1;
    const weakFrom = answer.weak_below === null ? this.hits.length : this.hits.findIndex(hit => hit.score < answer.weak_below);
    const strong = weakFrom < 0 ? this.hits.length : Math.max(weakFrom, Math.min(1, this.hits.length));
    this.#buttons = this.hits.map((hit, index) => this.#entry(hit, index, answer.weak_below !== null));
    const items = this.#buttons.map(button => element("li", {}, button));
    $("hits").replaceChildren(...items.slice(0, strong));
    $("weak-hits").replaceChildren(...items.slice(strong));
    $("weak-hits").hidden = true;
    const weak = this.hits.length - strong;
    $("weak").hidden = weak === 0;
    $("weak").setAttribute("aria-expanded", "false");
    $("weak").textContent = `${count(weak, "more answer")}, below ${(answer.weak_below ?? 0).toFixed(2)}: probably not there. Show`;
  }

  showWeak() {
    $("weak-hits").hidden = false;
    $("weak").hidden = true;
    $("weak").setAttribute("aria-expanded", "true");
  }

  select(index, {focus = true, play = false} = {}) {
    if (index < 0 || index >= this.hits.length) return;
    const button = this.#buttons[index];
    if (button.closest("#weak-hits")) this.showWeak();
    this.#buttons[this.#current]?.removeAttribute("aria-current");
    this.#current = index;
    button.setAttribute("aria-current", "true");
    if (focus) button.focus({preventScroll: true});
    button.scrollIntoView({block: "nearest"});
    this.dispatchEvent(new CustomEvent("select", {detail: {hit: this.hits[index], play}}));
  }

  next(step) { this.select(this.#current + step); }

  deselect() {
    this.#buttons[this.#current]?.removeAttribute("aria-current");
    this.#current = -1;
  }

  #entry(hit, index, showScore) {
    const image = element("img", {alt: "", loading: "lazy", src: still(hit.video, (hit.start + hit.end) / 2)});
    const picture = element("span", {className: "picture"}, image);
    const text = element("span", {className: "text"},
      element("span", {className: "times"}, span(hit.start, hit.end)),
      element("bdi", {className: "name"}, hit.video.name));
    if (showScore) text.append(scoreBar(hit.score));
    const button = element("button", {type: "button", className: "hit"}, picture, text);
    button.addEventListener("click", () => this.select(index, {play: true}));
    addPreview(button, picture, image, hit);
    return button;
  }
}

function scoreBar(score) {
  const fill = element("span");
  fill.style.width = `${Math.round(score * 100)}%`;
  return element("span", {className: "score"},
    element("span", {className: "bar", "aria-hidden": "true"}, fill),
    element("span", {}, element("span", {className: "unseen"}, "score "), score.toFixed(2)));
}

// Plays the moment without sound in the picture; pictures one after the other where that is not possible.
function addPreview(button, picture, image, hit) {
  let timer = null, video = null;
  const stop = () => {
    clearTimeout(timer);
    timer = null;
    if (video) {
      video.removeAttribute("src"); // closes the connection, of which a browser has few
      video.load();
      video.remove();
      video = null;
    }
    image.src = still(hit.video, (hit.start + hit.end) / 2);
  };
  const showStills = number => {
    image.src = still(hit.video, hit.start + (hit.end - hit.start) * (number % STILLS + 0.5) / STILLS);
    timer = setTimeout(() => showStills(number + 1), STILL_EVERY);
  };
  const play = () => {
    video = element("video", {muted: true, playsInline: true, className: "preview"});
    video.setAttribute("aria-hidden", "true");
    video.addEventListener("loadedmetadata", () => { video.currentTime = hit.start; });
    video.addEventListener("timeupdate", () => { if (video?.currentTime > hit.end) video.currentTime = hit.start; });
    video.addEventListener("error", () => {
      if (!video?.getAttribute("src")) return;
      video.remove();
      video = null;
      showStills(0);
    });
    video.src = media(hit.video);
    picture.append(video);
    video.play().catch(() => {});
  };
  const start = () => {
    if (timer !== null || video || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    timer = setTimeout(play, PREVIEW_AFTER);
  };
  button.addEventListener("pointerenter", event => { if (event.pointerType === "mouse") start(); });
  button.addEventListener("pointerleave", stop);
  button.addEventListener("focus", () => { if (button.matches(":focus-visible")) start(); });
  button.addEventListener("blur", stop);
}
