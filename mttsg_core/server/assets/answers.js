// What people said: the rows to train on, taken back one by one, and the training itself.

import {$, attempt, element, get, post, remove, say} from "./api.js";
import {count, span} from "./format.js";

const TASKS = {extraction: "Reading videos", training: "Training"};
const WORDS = {right: "✓ right", moved: "↔ moved", marked: "✎ marked", wrong: "✗ wrong"};

export class Answers extends EventTarget {
  constructor() {
    super();
    $("train").addEventListener("click", () => attempt(async () => {
      await post("/api/training");
      this.dispatchEvent(new Event("changed"));
    }));
    $("stop").addEventListener("click", () => attempt(async () => {
      await remove("/api/training");
      this.dispatchEvent(new Event("changed"));
    }));
    $("list").addEventListener("toggle", () => { if ($("list").open) this.#list(); });
  }

  // Keeps what is said about a moment, and offers to take it back.
  async keep(judgement, said) {
    const row = await attempt(() => post("/api/rows", judgement));
    if (!row) return false;
    say(said, {action: {label: "Undo", run: () => this.#takeBack(row.id)}});
    this.#changed();
    return true;
  }

  show(state) {
    $("rows").textContent = count(state.rows, "moment");
    $("data").textContent = state.data;
    const {stage, progress, reason} = state.training;
    const isAtWork = stage === "running" || stage === "loading";
    $("train").disabled = isAtWork || state.rows === 0;
    $("training").hidden = stage === "none";
    $("stop").hidden = stage !== "running";
    $("training-bar").hidden = !isAtWork;
    $("training-text").textContent = trainingText(stage, progress, reason, state);
    $("training-warnings").replaceChildren(...(progress?.warnings ?? []).map(text => element("li", {}, text)));
    if (progress?.total) {
      $("training-bar").max = progress.total;
      $("training-bar").value = progress.done;
    } else {
      $("training-bar").removeAttribute("value");
    }
  }

  async #takeBack(id) {
    const answer = await attempt(() => remove(`/api/rows/${encodeURIComponent(id)}`));
    if (!answer) return;
    say(answer.removed ? "Taken back." : "It was taken back before.");
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("changed"));
    if ($("list").open) this.#list();
  }

  async #list() {
    const answer = await attempt(() => get("/api/rows"));
    if (!answer) return;
    const items = answer.rows.map(row => {
      const undo = element("button", {type: "button", className: "link"}, "Take back");
      undo.setAttribute("aria-label", `Take back: ${row.query}`);
      undo.addEventListener("click", () => this.#takeBack(row.id));
      return element("li", {},
        element("span", {},
          element("span", {className: `kind ${row.kind}`}, WORDS[row.kind]), " ",
          element("bdi", {}, row.query), ` · ${span(row.start, row.end)} · `, element("bdi", {}, row.video)),
        undo);
    });
    if (answer.rows.length < answer.all) items.push(element("li", {}, `and ${answer.all - answer.rows.length} before`));
    if (!items.length) items.push(element("li", {}, "None yet."));
    $("list").querySelector("ul").replaceChildren(...items);
  }
}

function trainingText(stage, progress, reason, state) {
  if (stage === "running") {
    const task = TASKS[progress.task] ?? "Preparing";
    const steps = progress.total ? `, ${Math.floor(progress.done)} of ${progress.total}` : "";
    return `${task}${steps}. ${progress.text}`;
  }
  if (stage === "loading") return "Trained. Loading the new model.";
  if (stage === "finished") return `Trained. ${state.reading ? "Videos are read for the new model." : "Ask again to see what it answers."}`;
  if (stage === "stopped") return "The training was stopped; the model from before answers.";
  return stage === "failed" ? `The training failed: ${reason}` : "";
}
