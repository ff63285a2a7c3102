"use strict";

// Moments carry their times in data-* attributes; none of it is ever run or written as HTML.
const video = document.querySelector("video");
const hits = [...document.querySelectorAll(".hit")];
const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
const MAX_TICKS = 6;

if (video) {
  const curve = document.querySelector(".curve");
  const now = curve.querySelector(".now");
  const broken = document.querySelector(".broken");
  let current = null; // the moment that is shown
  let stopTime = null; // its end, while it plays
  let wanted = null; // {time, play}, until enough of the file is loaded

  const fileOf = hit => hit.href.split("#")[0];
  const timelineOf = hit => document.getElementById(hit.dataset.curve).dataset;
  const shareOf = (time, timeline) => Math.min(Math.max((time - timeline.start) / timeline.length, 0), 1);
  const clock = seconds => {
    const whole = Math.floor(seconds), pad = number => String(number).padStart(2, "0");
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    const rest = pad(whole % 60) + (Number.isInteger(seconds) ? "" : ".5");
    return hours ? `${hours}:${pad(minutes)}:${rest}` : `${minutes}:${rest}`;
  };

  const drawCurve = () => {
    const timeline = timelineOf(current);
    curve.querySelector("use").setAttribute("href", `#${current.dataset.curve}`);
    for (const mark of curve.querySelectorAll(".mark")) mark.remove();
    for (const hit of hits) if (hit.dataset.curve === current.dataset.curve) {
      const mark = document.createElement("span"), start = shareOf(hit.dataset.start, timeline);
      mark.className = hit === current ? "mark current" : "mark";
      mark.style.left = `${start * 100}%`;
      mark.style.width = `${(shareOf(hit.dataset.end, timeline) - start) * 100}%`;
      now.before(mark);
    }
    drawAxis(Number(timeline.start), Number(timeline.length));
  };

  const drawAxis = (start, length) => {
    const step = STEPS.find(seconds => length / seconds <= MAX_TICKS) || 86400;
    const ticks = [];
    for (let time = Math.ceil(start / step) * step; time <= start + length; time += step) {
      const tick = document.createElement("span"), share = (time - start) / length;
      if (share > 0.96) break; // its label would not fit
      tick.textContent = clock(time);
      tick.style.left = `${share * 100}%`;
      ticks.push(tick);
    }
    document.querySelector(".axis").replaceChildren(...ticks);
  };

  const update = () => {
    if (stopTime !== null && video.currentTime >= stopTime) {
      video.pause();
      stopTime = null;
    }
    if (current) now.style.left = `${shareOf(video.currentTime, timelineOf(current)) * 100}%`;
  };

  const updateEveryFrame = () => {
    update();
    if (!video.paused && !video.ended) requestAnimationFrame(updateEveryFrame);
  };

  const seek = (time, play) => {
    wanted = {time, play};
    if (video.readyState >= HTMLMediaElement.HAVE_METADATA) arrive();
    else load();
  };

  const load = () => {
    if (video.preload === "auto") return;
    video.preload = "auto";
    video.load();
  };

  const arrive = () => {
    if (!wanted) return;
    const {time, play} = wanted;
    wanted = null;
    video.currentTime = time;
    if (play) video.play().catch(() => {}); // a browser may want a click first
    update();
  };

  const select = (hit, play) => {
    if (current) current.removeAttribute("aria-current");
    const file = fileOf(hit);
    if (!current || fileOf(current) !== file) {
      video.pause();
      broken.hidden = true;
      const still = hit.querySelector("img");
      if (still) video.poster = still.src; else video.removeAttribute("poster");
      video.src = file;
    }
    current = hit;
    video.setAttribute("aria-label", hit.dataset.name);
    hit.setAttribute("aria-current", "true");
    broken.querySelector("a").href = hit.href;
    const query = hit.closest("section").querySelector("h2").textContent;
    document.querySelector(".shown").textContent = `${query} · ${hit.dataset.name}`;
    drawCurve();
    now.style.left = `${shareOf(hit.dataset.start, timelineOf(hit)) * 100}%`;
    stopTime = Number(hit.dataset.end);
    wanted = {time: Number(hit.dataset.start), play}; // if not now, then when the player's own button is pressed
    if (play) seek(wanted.time, true);
  };

  const go = hit => {
    select(hit, true);
    history.replaceState(null, "", `#${hit.parentElement.id}`);
    hit.scrollIntoView({block: "nearest"});
  };

  const linked = () => hits.find(hit => `#${hit.parentElement.id}` === location.hash);

  video.addEventListener("loadedmetadata", arrive);
  video.addEventListener("play", updateEveryFrame);
  video.addEventListener("timeupdate", update);
  video.addEventListener("seeked", update);
  video.addEventListener("error", () => { broken.hidden = false; });

  for (const hit of hits) hit.addEventListener("click", event => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return; // opens the file at the second
    event.preventDefault();
    go(hit);
  });

  curve.addEventListener("click", event => {
    const box = curve.getBoundingClientRect(), timeline = timelineOf(current);
    stopTime = null;
    seek(Number(timeline.start) + (event.clientX - box.left) / box.width * timeline.length, !video.paused);
  });

  document.addEventListener("keydown", event => {
    if (event.target === video || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const step = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
    if (step) {
      event.preventDefault();
      const next = hits[hits.indexOf(current) + step];
      if (next) {
        go(next);
        next.focus({preventScroll: true});
      }
    } else if (event.key === " ") {
      event.preventDefault();
      const focused = event.target.closest(".hit");
      if (focused && focused !== current) go(focused);
      else if (!video.paused) video.pause();
      else if (stopTime === null) video.play().catch(() => {});
      else go(current);
    }
  });

  addEventListener("hashchange", () => { if (linked()) go(linked()); });

  select(linked() || hits[0], false);
  if (linked()) {
    load(); // shows the first picture; a browser may not play before a click
    current.scrollIntoView({block: "center"});
  }
}
