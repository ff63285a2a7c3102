"""Style and script of the page of moments."""

PLAYER_STYLE = """
article{scroll-margin-top:12px}
video{display:block;width:100%;max-height:44vh;background:#000;border-radius:6px;position:sticky;top:0;z-index:1}
.sentence{margin-top:16px}
.track{position:relative;height:48px;margin:6px 0;border-radius:4px;background:var(--rail);overflow:hidden;
cursor:pointer}
.curve{position:absolute;inset:0;width:100%;height:100%}
.curve path{fill:var(--answer);fill-opacity:.28;stroke:var(--answer);stroke-width:1.5;vector-effect:non-scaling-stroke}
.mark{position:absolute;bottom:0;height:5px;min-width:3px;border-radius:2px;background:var(--truth)}
.now{position:absolute;top:0;bottom:0;width:2px;margin-left:-1px;background:var(--ink);visibility:hidden}
.playing .now{visibility:visible}
.moments{list-style:none;display:flex;flex-wrap:wrap;gap:8px;margin:8px 0 0;padding:0}
.moments button{font:inherit;font-size:13px;font-variant-numeric:tabular-nums;text-align:start;color:var(--ink);
background:var(--bg);border:1px solid var(--rule);border-radius:8px;padding:8px 12px;min-height:40px;cursor:pointer}
.moments button:hover{border-color:var(--answer)}
.moments button[aria-pressed=true]{border-color:var(--answer);box-shadow:inset 0 0 0 1px var(--answer)}
button:focus-visible,a:focus-visible,video:focus-visible{outline:3px solid var(--answer);outline-offset:2px}
.moments .pm{margin-inline-start:6px}
a{color:var(--answer)}
"""

# Buttons and tracks say what they stand for in data-*; nothing of it is ever run or written as HTML.
PLAYER_SCRIPT = """
"use strict";
for (const part of document.querySelectorAll("article")) {
  const video = part.querySelector("video");
  const buttons = document.querySelectorAll(`button[data-video="${part.id}"]`);
  let until = null;
  const release = () => {
    until = null;
    for (const button of buttons) button.setAttribute("aria-pressed", "false");
  };
  const whenReady = act => {
    if (video.readyState >= HTMLMediaElement.HAVE_METADATA) return act();
    video.addEventListener("loadedmetadata", act, {once: true});
    video.preload = "auto";
    video.load();
  };
  const look = () => {
    if (until !== null && video.currentTime >= until) {
      video.pause();
      release();
    }
    for (const track of part.querySelectorAll(".track")) {
      const share = (video.currentTime - track.dataset.start) / track.dataset.length;
      track.querySelector(".now").style.left = `${Math.min(Math.max(share, 0), 1) * 100}%`;
    }
  };
  const follow = () => {
    look();
    if (!video.paused && !video.ended) requestAnimationFrame(follow);
  };
  video.addEventListener("play", () => {
    for (const other of document.querySelectorAll("video")) if (other !== video) other.pause();
    part.classList.add("playing");
    follow();
  });
  video.addEventListener("timeupdate", look);
  video.addEventListener("error", () => { part.querySelector(".broken").hidden = false; });
  for (const button of buttons) {
    button.addEventListener("click", () => {
      if (!part.contains(button)) part.scrollIntoView();
      whenReady(() => {
        release();
        video.currentTime = button.dataset.start;
        until = Number(button.dataset.end);
        button.setAttribute("aria-pressed", "true");
        video.play().catch(() => {});
      });
    });
  }
  for (const track of part.querySelectorAll(".track")) {
    track.addEventListener("click", event => whenReady(() => {
      const box = track.getBoundingClientRect();
      release();
      part.classList.add("playing");
      video.currentTime = Number(track.dataset.start) + (event.clientX - box.left) / box.width * track.dataset.length;
    }));
  }
}
const near = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) {
    entry.target.preload = "metadata";
    near.unobserve(entry.target);
  }
}, {rootMargin: "100%"});
for (const video of document.querySelectorAll("video")) near.observe(video);
"""
