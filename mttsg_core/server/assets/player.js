// The one player. What the browser cannot play is shown in pieces, which the server makes for it.

import {$, media, still} from "./api.js";
import {clock} from "./format.js";

const PIECE_BEFORE = 10, PIECE_AFTER = 30; // seconds of a piece around the time that is looked for

export class Player extends EventTarget {
  video = null; // {id, name, duration}
  loop = false;
  #element = $("video");
  #piece = null; // [start, end] in seconds, if it is not the file itself that plays
  #wanted = null; // the time to go to once something is loaded
  #range = null; // the moment that plays
  #playing = false; // whether to play once something is loaded

  constructor() {
    super();
    const element = this.#element;
    element.addEventListener("loadedmetadata", () => this.#loaded());
    element.addEventListener("error", () => this.#failed());
    element.addEventListener("play", () => { this.#changed(); this.#tick(); });
    element.addEventListener("pause", () => this.#changed());
    element.addEventListener("ended", () => this.#atEnd());
    for (const name of ["timeupdate", "seeked"]) element.addEventListener(name, () => this.#moved());
    element.addEventListener("click", () => this.toggle());
  }

  get time() { return this.#wanted ?? this.#offset + this.#element.currentTime; }
  get paused() { return this.#element.paused && !this.#playing; }
  get muted() { return this.#element.muted; }
  set muted(value) { this.#element.muted = value; }
  get #offset() { return this.#piece ? this.#piece[0] : 0; }

  open(video, time) {
    this.#range = null;
    this.#playing = false;
    if (this.video?.id === video.id) {
      this.pause();
      this.seek(time);
      return;
    }
    this.video = video;
    this.#piece = null;
    $("unplayable").hidden = true;
    $("welcome").hidden = true;
    this.#element.poster = still(video, time, true);
    this.#load(media(video), time);
  }

  seek(time) {
    if (!this.video) return;
    time = Math.min(Math.max(0, time), this.video.duration);
    if (this.#piece && (time < this.#piece[0] || time > this.#piece[1])) return this.#loadPiece(time);
    if (this.#element.readyState < HTMLMediaElement.HAVE_METADATA) this.#wanted = time;
    else this.#element.currentTime = time - this.#offset;
    this.#moved();
  }

  playMoment(start, end) {
    this.#range = [start, end];
    this.seek(start);
    this.#play();
  }

  toggle() {
    if (!this.video) return;
    if (!this.paused) return this.pause();
    this.#range = null;
    this.#play();
  }

  pause() {
    this.#playing = false;
    this.#element.pause();
  }

  #play() {
    this.#playing = true;
    if (this.#element.readyState >= HTMLMediaElement.HAVE_METADATA) {
      this.#element.play().then(() => { this.#playing = false; }, () => { this.#playing = false; this.#changed(); });
    }
  }

  #load(address, time) {
    this.#wanted = time;
    this.#element.src = address;
    this.#moved();
  }

  #loadPiece(time) {
    const start = Math.floor(Math.max(0, time - PIECE_BEFORE));
    const end = Math.ceil(Math.min(this.video.duration, time + PIECE_AFTER));
    this.#playing = !this.paused;
    this.#piece = [start, Math.min(end, this.video.duration)];
    this.#note(`This browser cannot play this file itself: ${clock(start, 0)} to ${clock(end, 0)} are converted for it.`);
    this.#load(`${media(this.video)}/piece?start=${start}&end=${end}`, time);
  }

  #loaded() {
    // Some browsers play the sound of a video whose pictures they do not understand.
    if (!this.#element.videoWidth && !this.#piece) return this.#failed();
    const time = this.#wanted;
    this.#wanted = null;
    if (time !== null) this.#element.currentTime = Math.max(0, time - this.#offset);
    if (this.#playing) this.#play();
  }

  #failed() {
    if (!this.video || !this.#element.getAttribute("src")) return;
    if (this.#piece) {
      this.#playing = false;
      this.#note("This video cannot be played here; the picture is a still.");
      this.#changed();
    } else {
      this.#loadPiece(this.#wanted ?? 0);
    }
  }

  #note(text) {
    $("unplayable").textContent = text;
    $("unplayable").hidden = false;
  }

  #tick() {
    this.#moved();
    if (!this.#element.paused) requestAnimationFrame(() => this.#tick());
  }

  #moved() {
    if (this.#range && this.#wanted === null && this.time >= this.#range[1] && !this.#element.paused) this.#atEnd();
    this.dispatchEvent(new Event("time"));
  }

  #atEnd() {
    if (!this.#range) return;
    if (this.loop) {
      this.seek(this.#range[0]);
      this.#play();
    } else {
      this.#range = null;
      this.pause();
    }
  }

  #changed() { this.dispatchEvent(new Event("state")); }
}
