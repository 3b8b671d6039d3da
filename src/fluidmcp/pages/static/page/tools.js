// The tools of one package, each with a form to try it: progress, cancelling, and the questions of the server.
import { showResult } from "./answers.js";
import { keepFocus, make, makeButton, makeFault, makeLink, replace, setBusy, words } from "./elements.js";
import { buildForm, FormFault } from "./forms.js";

const MAX_DESCRIPTION_CHARACTERS = 4000;
const MAX_TOOLS = 500;

/** A list of tools; `client` is the McpClient that calls them. */
export function showTools(tools, client) {
  if (tools.length === 0) return make("p", {}, "It offers none.");
  const shown = tools.slice(0, MAX_TOOLS).map((tool) => showTool(tool, client));
  if (tools.length > MAX_TOOLS) shown.push(make("p", { class: "hint" }, `${tools.length - MAX_TOOLS} more are not shown.`));
  return make("div", {}, ...shown);
}

function showTool(tool, client) {
  const about = words(tool.description ?? tool.title).slice(0, MAX_DESCRIPTION_CHARACTERS);
  const details = make(
    "details",
    { class: "tool" },
    make("summary", {}, make("bdi", {}, words(tool.name).slice(0, 200))),
    about ? make("p", { class: "about" }, make("bdi", {}, about)) : null,
  );
  let isBuilt = false;
  details.addEventListener("toggle", () => {
    if (details.open && !isBuilt) {
      isBuilt = true;
      details.append(buildSafely(tool, client));
    }
  });
  return details;
}

function buildSafely(tool, client) {
  try {
    return buildTrial(tool, client);
  } catch {
    return makeFault("What this tool says of its arguments cannot be made into a form.");
  }
}

function buildTrial(tool, client) {
  const form = make("form", { autocomplete: "off" });
  form.noValidate = true;
  const fields = buildForm(tool.inputSchema);
  const run = make("button", { class: "primary slim" }, "Run");
  const cancel = makeButton("Cancel", () => running?.abort());
  const outcome = make("div", { class: "answer" });
  const status = make("p", { role: "status", class: "small" });
  cancel.hidden = true;
  let running = null;
  form.append(fields.element, make("div", { class: "row" }, run, cancel), status);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    let values;
    try {
      values = fields.read();
    } catch (error) {
      if (error instanceof FormFault) return;
      throw error;
    }
    running = new AbortController();
    const { signal } = running;
    setBusy(run, true);
    cancel.hidden = false;
    const progress = make("div");
    status.textContent = "It runs.";
    replace(outcome, progress);
    try {
      const ask = (questions) => askPerson(questions, progress, signal, status).finally(() => keepFocus(cancel));
      const onProgress = (params) => replace(progress, ...showProgress(params));
      const result = await client.callTool(tool, values, { signal, onProgress, ask });
      status.textContent = result.isError === true ? "It answered with an error." : "It answered.";
      replace(outcome, showResult(result));
    } catch (error) {
      status.textContent = "";
      replace(outcome, signal.aborted ? make("p", { role: "status" }, "It was cancelled.") : describe(error));
    } finally {
      const wasFocused = document.activeElement === cancel;
      running = null;
      setBusy(run, false);
      cancel.hidden = true;
      if (wasFocused) run.focus();
      else keepFocus(run);
    }
  });
  return make("div", {}, form, outcome);
}

/** A failure in words, with what the server says of it as JSON where it says more. */
export function describe(error) {
  const fault = makeFault(error.message || "Something went wrong in this page.");
  const data = error.details?.data;
  const stderr = Array.isArray(data?.stderr) ? make("pre", { tabindex: "0" }, data.stderr.join("\n")) : null;
  return make("div", {}, fault, stderr);
}

function showProgress({ progress, total, message }) {
  const bar = make("progress", { "aria-label": "How far it is" });
  if (typeof progress === "number" && typeof total === "number" && total > 0) {
    bar.max = total;
    bar.value = Math.min(Math.max(progress, 0), total);
  }
  return [bar, typeof message === "string" ? make("p", { class: "small" }, message.slice(0, 500)) : null];
}

/** The answers of the person to the questions of a server, by the keys of the questions. */
async function askPerson(questions, place, signal, status) {
  const answers = {};
  for (const [key, question] of Object.entries(questions)) {
    status.textContent = "The server asks you something.";
    answers[key] = await askOne(question, place, signal);
  }
  status.textContent = "It runs.";
  replace(place);
  return answers;
}

function askOne(question, place, signal) {
  const params = question?.params ?? {};
  if (question?.method !== "elicitation/create") {
    throw new Error("The server asks for something that this page cannot give.");
  }
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")), { once: true });
    const message = make("p", {}, make("bdi", {}, words(params.message).slice(0, 4000)));
    const title = make("h4", {}, "The server asks");
    const warning = make("p", { class: "small" }, "Give no password and no key here: what you write goes to the server.");
    const form = make("form", { class: "question", autocomplete: "off" }, title, message);
    form.noValidate = true;
    const decline = makeButton("No", () => resolve({ action: "decline" }));
    const dismiss = makeButton("Not now", () => resolve({ action: "cancel" }));
    const isUrl = params.mode === "url";
    const fields = isUrl ? null : buildForm(params.requestedSchema);
    if (isUrl) {
      form.append(make("p", {}, "It wants you to open ", makeLink(words(params.url).slice(0, 2000)), "."));
    } else {
      form.append(fields.element, warning);
    }
    form.append(make("div", { class: "row" }, make("button", { class: "primary slim" }, isUrl ? "I have opened it" : "Answer"), decline, dismiss));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      try {
        resolve(fields === null ? { action: "accept" } : { action: "accept", content: fields.read() });
      } catch (error) {
        if (!(error instanceof FormFault)) reject(error);
      }
    });
    replace(place, form);
    form.querySelector("input, select, textarea, button")?.focus();
  });
}
