// Requests to the server, and small helpers for the document. Text from the server only ever becomes text.

export const $ = id => document.getElementById(id);

export async function call(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : {"Content-Type": "application/json"},
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("The server does not answer. Is mttsg serve still running?");
  }
  const isJson = (response.headers.get("Content-Type") ?? "").startsWith("application/json");
  const answer = isJson ? await response.json() : await response.text();
  if (!response.ok) throw new Error(isJson ? answer.error : answer);
  return answer;
}

export const get = path => call("GET", path);
export const post = (path, body = {}) => call("POST", path, body);
export const remove = path => call("DELETE", path);

export const media = video => `/media/${encodeURIComponent(video.id)}`;
export const still = (video, time, large = false) => `${media(video)}/still?at=${time.toFixed(1)}${large ? "&large=true" : ""}`;

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function say(text, {failed = false, action = null} = {}) {
  const message = $("message");
  message.classList.toggle("failed", failed);
  message.replaceChildren(text);
  if (action) {
    const button = element("button", {type: "button", className: "link"}, action.label);
    button.addEventListener("click", action.run);
    message.append(" ", button);
  }
}

// Runs what a person asked for; a failure is one line on the page.
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    say(error.message, {failed: true});
    return undefined;
  }
}
