// Elements from values. What servers and people say becomes text, never markup: nothing here parses HTML.

const SAFE_ATTRIBUTES = new Set([
  "aria-describedby", "aria-label", "aria-labelledby", "aria-live", "aria-controls", "aria-selected", "autocomplete",
  "checked", "class", "controls", "for", "hidden", "id", "list", "max", "maxlength", "min", "minlength", "multiple", "name",
  "open", "placeholder", "required", "role", "rows", "selected", "spellcheck", "step", "tabindex", "type", "value",
  "alt", "disabled",
]);

/** What is meant to be text, as text: a server may send anything in its place, which String() may fail on. */
export function words(value) {
  if (typeof value === "string") return value;
  return value === undefined || value === null ? "" : JSON.stringify(value);
}

/** An element of this page's own choice. `attributes` hold text, or true and false; children are nodes or text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (!SAFE_ATTRIBUTES.has(name)) throw new Error(`${name} is not set here`);
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function makeButton(label, onClick, kind = "secondary") {
  const button = make("button", { type: "button", class: `${kind} slim` }, label);
  button.addEventListener("click", () => {
    if (!isBusy(button)) onClick();
  });
  return button;
}

/** A button that waits for what it began. It keeps the focus, which one that is disabled would lose. */
export function setBusy(button, busy) {
  if (busy) button.setAttribute("aria-disabled", "true");
  else button.removeAttribute("aria-disabled");
}

export function isBusy(button) {
  return button.getAttribute("aria-disabled") === "true";
}

/** Where the element that had the focus has gone from the page, another one gets it: people read on from there. */
export function keepFocus(element) {
  if (document.activeElement === document.body || document.activeElement === null) element?.focus({ preventScroll: true });
}

/** A link to a web page, with its host in words; the bare text for every other address. */
export function makeLink(address, label = "") {
  let url = null;
  try {
    url = new URL(address);
  } catch {
    // No address at all.
  }
  if (url === null || !["https:", "http:"].includes(url.protocol) || url.username || url.password) {
    return make("bdi", {}, label ? `${label} (${address})` : address);
  }
  const link = make("a", {}, make("bdi", {}, label || address));
  link.href = url.href;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return make("span", {}, link, " at ", make("strong", {}, make("bdi", {}, url.host)));
}

/** A sentence that says what went wrong, as an alert. */
export function makeFault(text) {
  return make("p", { class: "fault", role: "alert" }, text);
}

export function replace(container, ...children) {
  container.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

let lastId = 0;
export function newId() {
  lastId += 1;
  return `made-${lastId}`;
}

/** Copies text where the browser lets a page do that, and says so in the button. */
export function makeCopyButton(readText) {
  const button = makeButton("Copy", async () => {
    try {
      await navigator.clipboard.writeText(readText());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and copy";
    }
  });
  return button;
}
