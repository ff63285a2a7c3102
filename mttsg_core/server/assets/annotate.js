// Marking moments by hand: a list of all videos, and a form for the sentence.

import {$, attempt, element, get} from "./api.js";
import {clock, count} from "./format.js";

const TYPING = 200; // milliseconds without a key before the list is asked for

export class VideoList extends EventTarget {
  #timer = null;
  #entries = new Map();

  constructor() {
    super();
    $("filter").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.load(), TYPING);
    });
  }

  async load() {
    const name = $("filter").value;
    const answer = await attempt(() => get(`/api/videos?name=${encodeURIComponent(name)}`));
    if (!answer || name !== $("filter").value) return;
    this.#entries = new Map(answer.videos.map(video => [video.id, this.#entry(video)]));
    $("video-list").replaceChildren(...[...this.#entries.values()].map(button => element("li", {}, button)));
    const shown = answer.videos.length;
    $("video-count").textContent = shown < answer.found ? `${shown} of ${count(answer.found, "video")}; type a part of a name` : "";
    if (!answer.found) $("video-count").textContent = name ? "No video has a name like this." : "No videos have been read yet.";
  }

  mark(id) {
    for (const [key, button] of this.#entries) {
      if (key === id) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  #entry(video) {
    const button = element("button", {type: "button", className: "video-entry"},
      element("bdi", {}, video.name), element("span", {}, clock(video.duration, 0)));
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("open", {detail: video})));
    return button;
  }
}

export function showMarked(moment) {
  $("marked").textContent = moment ? `${clock(moment[0])} – ${clock(moment[1])}` : "";
}
