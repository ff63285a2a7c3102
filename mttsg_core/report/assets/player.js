"use strict";

// Buttons and tracks carry their times in data-* attributes; none of it is ever run or written as HTML.
for (const article of document.querySelectorAll("article")) {
  const video = article.querySelector("video");
  const buttons = document.querySelectorAll(`button[data-video="${article.id}"]`);
  const tracks = article.querySelectorAll(".track");
  let stopTime = null; // the end of the moment that plays

  const releaseButtons = () => {
    stopTime = null;
    for (const button of buttons) button.setAttribute("aria-pressed", "false");
  };

  const whenLoaded = action => {
    if (video.readyState >= HTMLMediaElement.HAVE_METADATA) return action();
    video.addEventListener("loadedmetadata", action, {once: true});
    video.preload = "auto";
    video.load();
  };

  const update = () => {
    if (stopTime !== null && video.currentTime >= stopTime) {
      video.pause();
      releaseButtons();
    }
    for (const track of tracks) {
      const share = (video.currentTime - track.dataset.start) / track.dataset.length;
      track.querySelector(".now").style.left = `${Math.min(Math.max(share, 0), 1) * 100}%`;
    }
  };

  const updateEveryFrame = () => {
    update();
    if (!video.paused && !video.ended) requestAnimationFrame(updateEveryFrame);
  };

  video.addEventListener("play", () => {
    for (const other of document.querySelectorAll("video")) if (other !== video) other.pause();
    article.classList.add("playing");
    updateEveryFrame();
  });
  video.addEventListener("timeupdate", update);
  video.addEventListener("error", () => { article.querySelector(".broken").hidden = false; });

  for (const button of buttons) {
    button.addEventListener("click", () => {
      if (!article.contains(button)) article.scrollIntoView();
      whenLoaded(() => {
        releaseButtons();
        video.currentTime = button.dataset.start;
        stopTime = Number(button.dataset.end);
        button.setAttribute("aria-pressed", "true");
        video.play().catch(() => {});
      });
    });
  }

  for (const track of tracks) {
    track.addEventListener("click", event => whenLoaded(() => {
      const box = track.getBoundingClientRect();
      releaseButtons();
      article.classList.add("playing");
      video.currentTime = Number(track.dataset.start) + (event.clientX - box.left) / box.width * track.dataset.length;
    }));
  }
}

// Only videos near the visible part of the page load anything before they are used.
const observer = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) {
    entry.target.preload = "metadata";
    observer.unobserve(entry.target);
  }
}, {rootMargin: "100%"});
for (const video of document.querySelectorAll("video")) observer.observe(video);
