// The page: connects the field, the answers, the player, the moment and what people say about it.

import {$, attempt, element, get, post, say} from "./api.js";
import {Answers} from "./answers.js";
import {showMarked, VideoList} from "./annotate.js";
import {clock, count, length, span} from "./format.js";
import {Hits} from "./hits.js";
import {Player} from "./player.js";
import {Timeline} from "./timeline.js";

const HISTORY = "mttsg-history", KEPT_QUERIES = 50;
const TOP = 10, MORE = 20, MAX_TOP = 100;
const POLL_BUSY = 700, POLL_IDLE = 8000; // milliseconds
const NUDGE = 0.5; // seconds

const player = new Player(), timeline = new Timeline(), hits = new Hits(), videos = new VideoList(), answers = new Answers();
let query = ""; // that was answered
let answered = null; // the moment as the model gave it: {start, end, score, rank}
let marking = false;
let asking = 0, shown = TOP, poll = null, model = null;

// --- asking ---------------------------------------------------------------------------------------------------------

async function ask(sentence, top = TOP) {
  sentence = sentence.trim();
  if (!sentence) return $("query").focus();
  const number = ++asking;
  $("summary").textContent = "Searching …";
  showSide(false);
  let answer;
  try {
    answer = await post("/api/ask", {query: sentence, top, folder: $("folder").value.trim(), since: $("since").value});
  } catch (error) {
    if (number === asking) $("summary").textContent = error.message;
    return;
  }
  if (number !== asking) return;
  query = sentence;
  shown = top;
  remember(sentence);
  history.replaceState(null, "", `#${new URLSearchParams({q: sentence, ...narrowed()})}`);
  hits.show(answer);
  $("more").hidden = answer.hits.length < top || top >= MAX_TOP;
  const best = answer.hits[0];
  const notes = answer.reading ? [`Asked of ${answer.reading[0]} of ${answer.reading[1]} videos; the others are still being read.`] : [];
  $("summary").textContent = [summary(answer, best), ...notes, ...answer.warnings.map(text => `Note: ${text}.`)].join("\n");
  if (best) hits.select(0, {focus: document.activeElement?.id !== "sentence"});
}

// What the question is about, beside the sentence, for the address of the page.
function narrowed() {
  return Object.fromEntries(["folder", "since"].map(id => [id, $(id).value.trim()]).filter(([, value]) => value));
}

function summary(answer, best) {
  if (!best) return "No moment. Are videos still being read?";
  const place = `at ${span(best.start, best.end)} in ${best.video.name}`;
  if (best.score < (answer.weak_below ?? 0)) return `Probably in none of the videos. The best guess is ${place}.`;
  return `${count(answer.hits.length, "moment")}, the best ${place}.`;
}

function remember(sentence) {
  const kept = [sentence, ...recall().filter(other => other !== sentence)].slice(0, KEPT_QUERIES);
  try { localStorage.setItem(HISTORY, JSON.stringify(kept)); } catch { /* private windows keep nothing */ }
  showHistory();
}

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(HISTORY) ?? "[]");
    return Array.isArray(kept) ? kept.filter(each => typeof each === "string") : [];
  } catch {
    return [];
  }
}

function showHistory() {
  $("history").replaceChildren(...recall().map(sentence => element("option", {value: sentence})));
}

// --- the player and the moment ----------------------------------------------------------------------------------------

function openVideo(video, moment) {
  $("controls").hidden = false;
  player.open(video, moment ? moment[0] : 0);
  timeline.open(video.duration, moment);
  $("shown").textContent = video.name;
  videos.mark(video.id);
  momentChanged();
}

hits.addEventListener("select", async event => {
  const {hit, play} = event.detail;
  answered = {start: hit.start, end: hit.end, score: hit.score, rank: hits.rank};
  setMarking(false);
  openVideo(hit.video, [round(hit.start), round(hit.end)]);
  if (play) playMoment();
  const asked = query;
  const curve = await attempt(() => get(`/api/videos/${encodeURIComponent(hit.video.id)}/curve?${new URLSearchParams({query: asked})}`));
  if (curve && hits.current === hit) timeline.setCurve(curve);
});

videos.addEventListener("open", event => {
  answered = null;
  hits.deselect();
  setMarking(true);
  openVideo(event.detail, null);
  $("watch").focus(); // so that the keys play and mark, rather than press the entry again
});

const round = time => Math.round(time * 100) / 100;
const isMoved = () => answered && timeline.moment
  && (Math.abs(timeline.moment[0] - answered.start) > 0.011 || Math.abs(timeline.moment[1] - answered.end) > 0.011);

function playMoment() {
  if (!timeline.moment) return player.toggle();
  player.playMoment(...timeline.moment);
}

function momentChanged() {
  const moment = timeline.moment;
  for (const id of ["play-moment", "earlier", "later", "save-clip", "copy", "loop"]) $(id).disabled = !moment;
  $("judge").hidden = marking || !answered;
  $("right").disabled = isMoved();
  $("moved").disabled = !isMoved();
  $("reset").hidden = !isMoved();
  showMarked(moment);
  showClock();
}

function showClock() {
  const now = player.video ? `${clock(player.time)} / ${clock(player.video.duration)}` : "";
  $("clock").textContent = timeline.moment ? `${span(...timeline.moment)}  ·  ${now}` : now;
}

function markAt(index) {
  if (!player.video) return;
  const time = player.time, other = timeline.moment?.[1 - index];
  if (index === 0) timeline.setMoment(time, other !== undefined && other > time ? other : Math.min(time + 1, timeline.duration));
  else timeline.setMoment(other !== undefined && other < time ? other : Math.max(0, time - 1), time);
}

timeline.addEventListener("moment", momentChanged);
timeline.addEventListener("seek", event => player.seek(event.detail));
timeline.addEventListener("zoom", () => $("zoom").setAttribute("aria-pressed", String(timeline.zoomed)));
player.addEventListener("time", () => { timeline.setTime(player.time); showClock(); });
player.addEventListener("state", () => { $("play").textContent = player.paused ? "Play on" : "Pause"; });

function press(id, action) { $(id).addEventListener("click", action); }

function toggle(id, action) {
  press(id, () => {
    const on = $(id).getAttribute("aria-pressed") !== "true";
    $(id).setAttribute("aria-pressed", String(on));
    action(on);
  });
}

press("play-moment", playMoment);
press("play", () => player.toggle());
toggle("loop", on => { player.loop = on; });
toggle("mute", on => { player.muted = on; });
press("zoom", () => timeline.zoom(!timeline.zoomed));
press("full", () => attempt(() => $("video").requestFullscreen()));
press("earlier", () => timeline.setMoment(timeline.moment[0] - NUDGE, timeline.moment[1]));
press("later", () => timeline.setMoment(timeline.moment[0], timeline.moment[1] + NUDGE));
press("reset", () => timeline.setMoment(answered.start, answered.end));

press("save-clip", () => attempt(async () => {
  const [start, end] = timeline.moment;
  say(`Saving ${span(start, end)} …`);
  $("save-clip").disabled = true;
  try {
    const saved = await post("/api/clips", {video: player.video.id, query, start, end});
    say(`Saved as ${saved.name} in ${saved.folder}.`);
  } finally {
    $("save-clip").disabled = false;
  }
}));

press("copy", () => attempt(async () => {
  const text = span(...timeline.moment);
  if (!navigator.clipboard) throw new Error(`This browser copies nothing from here: ${text}`);
  await navigator.clipboard.writeText(text);
  say(`Copied: ${text}`);
}));

// --- what people say --------------------------------------------------------------------------------------------------

function judge(kind, said) {
  const [start, end] = kind === "moved" ? timeline.moment : [answered.start, answered.end];
  const {score, rank} = answered;
  return answers.keep({kind, video: player.video.id, query, start, end, score, rank}, said);
}

press("right", () => judge("right", "Kept as right."));
press("moved", () => judge("moved", "Kept with the ends as you moved them."));
press("wrong", () => judge("wrong", "Kept as wrong; nothing is trained on it."));

press("mark-start", () => markAt(0));
press("mark-end", () => markAt(1));
$("mark").addEventListener("submit", async event => {
  event.preventDefault();
  const sentence = $("sentence").value.trim();
  if (!timeline.moment) return say("Mark the start and the end of the moment first.", {failed: true});
  if (!sentence) return $("sentence").focus();
  const [start, end] = timeline.moment;
  const kept = await answers.keep({kind: "marked", video: player.video.id, query: sentence, start, end}, `Kept: ${sentence}`);
  if (!kept) return;
  $("sentence").value = "";
  $("sentence").blur();
  timeline.clear();
});

function setMarking(on) {
  marking = on;
  $("mark").hidden = !on;
  momentChanged();
}

function showSide(all) {
  $("answers").hidden = all;
  $("videos").hidden = !all;
  $("show-hits").setAttribute("aria-pressed", String(!all));
  $("show-videos").setAttribute("aria-pressed", String(all));
}

press("show-hits", () => showSide(false));
press("show-videos", async () => {
  showSide(true);
  if (player.video) setMarking(true);
  await videos.load();
  if (player.video) videos.mark(player.video.id);
});

// --- the state of everything that changes by itself -----------------------------------------------------------------

async function update() {
  clearTimeout(poll);
  let state;
  try {
    state = await get("/api/state");
  } catch (error) {
    say(error.message, {failed: true});
    poll = setTimeout(update, POLL_IDLE);
    return;
  }
  document.title = `${query ? `${query} · ` : ""}${state.title} · mttsg`;
  const read = state.found > state.videos ? `${state.videos.toLocaleString()} of ` : "";
  $("library").textContent = `${read}${count(state.found, "video")} · ${length(state.seconds)}`;
  showModels(state);
  showReading(state);
  answers.show(state);
  const busy = state.reading || ["running", "loading"].includes(state.training.stage);
  poll = setTimeout(update, busy ? POLL_BUSY : POLL_IDLE);
}

function showModels({models, model: index}) {
  $("model-name").hidden = models.length > 1;
  $("model").hidden = models.length < 2;
  $("model-name").textContent = models[index];
  if ($("model").options.length !== models.length) {
    $("model").replaceChildren(...models.map((about, number) => element("option", {value: String(number)}, about)));
  }
  if (document.activeElement !== $("model")) $("model").value = String(index);
  if (model !== null && model !== index) {
    say(`From now on answers: ${models[index]}.`, query ? {action: {label: "Ask again", run: () => ask(query)}} : {});
  }
  model = index;
}

function showReading({reading, problems, videos: number}) {
  $("reading").hidden = !reading;
  $("reread").hidden = Boolean(reading);
  if (reading) {
    const steps = reading.total ? `: ${Math.floor(reading.done)} of ${reading.total}` : "";
    const meanwhile = number ? "What has been read can be searched." : "The page answers when the first is read.";
    $("reading").textContent = `Videos are being read${steps}. ${meanwhile}`;
  }
  $("problems").hidden = problems.length === 0;
  $("problems").querySelector("summary").textContent = count(problems.length, "problem");
  $("problems").querySelector("ul").replaceChildren(...problems.map(text => element("li", {}, text)));
}

answers.addEventListener("changed", update);
press("reread", () => attempt(async () => { await post("/api/reading"); await update(); }));
press("forget", () => { localStorage.removeItem(HISTORY); showHistory(); say("Forgotten."); });
press("more", () => ask(query, Math.min(MAX_TOP, shown + MORE)));
$("model").addEventListener("change", () => attempt(async () => {
  await post("/api/model", {model: Number($("model").value)});
  await update();
}));
$("ask").addEventListener("submit", event => { event.preventDefault(); ask($("query").value); });

// --- keys -------------------------------------------------------------------------------------------------------------

const KEYS = {
  "/": () => $("query").focus(),
  ArrowDown: () => hits.next(1),
  ArrowUp: () => hits.next(-1),
  ArrowLeft: () => player.seek(player.time - 1),
  ArrowRight: () => player.seek(player.time + 1),
  " ": () => (player.paused ? playMoment() : player.pause()),
  i: () => markAt(0),
  o: () => markAt(1),
  Enter: () => marking && $("sentence").focus(),
};

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
  const on = event.target;
  if (on.matches("input, select, textarea, summary")) return;
  const isButton = on.matches("button:not(.hit)");
  if (isButton && [" ", "Enter"].includes(event.key)) return; // presses it
  if (on.matches(".hit") && event.key === "Enter") return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || !(player.video || event.key === "/" || hits.hits.length)) return;
  event.preventDefault();
  action();
});

// A button takes the space bar when the key is released.
document.addEventListener("keyup", event => { if (event.key === " " && event.target.matches(".hit")) event.preventDefault(); });

showHistory();
update();
$("where").addEventListener("toggle", () => attempt(async () => {
  if (!$("where").open) return;
  const {folders} = await get("/api/folders");
  $("folders").replaceChildren(...folders.map(name => element("option", {value: name})));
}));
for (const id of ["folder", "since"]) $(id).addEventListener("change", () => { if (query) ask(query); });

const link = new URLSearchParams(location.hash.slice(1)), linked = link.get("q");
for (const id of ["folder", "since"]) {
  $(id).value = link.get(id) ?? "";
  $("where").open ||= Boolean($(id).value);
}
history.replaceState(null, "", location.pathname + location.hash); // without the token
if (linked) {
  $("query").value = linked;
  ask(linked);
}
