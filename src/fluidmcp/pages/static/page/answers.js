// What a tool answered, as elements. Text stays text; only pictures and sounds of known kinds become more than that.
import { make, makeFault, makeLink, words } from "./elements.js";

const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const SOUNDS = new Set(["audio/wav", "audio/x-wav", "audio/mpeg", "audio/mp3", "audio/ogg", "audio/mp4"]);
const MAX_MEDIA_MEGABYTES = 8;
const MAX_TEXT_CHARACTERS = 200_000;
const MAX_PARTS = 200;
const BASE64 = /^[A-Za-z0-9+/\r\n]*={0,2}\s*$/;

function text(whole) {
  const shown = whole.length > MAX_TEXT_CHARACTERS ? whole.slice(0, MAX_TEXT_CHARACTERS) : whole;
  const rest = whole.length - shown.length;
  const element = make("pre", { tabindex: "0" }, shown);
  return rest ? make("div", {}, element, make("p", { class: "hint" }, `${rest} more characters are not shown.`)) : element;
}

function json(value) {
  return text(JSON.stringify(value, null, 2));
}

function note(sentence) {
  return make("p", { class: "hint" }, sentence);
}

function media(part, kinds, build) {
  const kind = words(part.mimeType).toLowerCase().split(";")[0].trim();
  const data = typeof part.data === "string" ? part.data : "";
  if (kind === "image/svg+xml") return svg(data);
  if (!kinds.has(kind)) return note(`Something of the kind "${kind.slice(0, 100)}" came, which is not shown here.`);
  if (data.length * 0.75 > MAX_MEDIA_MEGABYTES * 1024 * 1024) {
    return note(`It has more than ${MAX_MEDIA_MEGABYTES} MB, so it is not shown here.`);
  }
  if (!BASE64.test(data)) return note("What came is no picture and no sound: it cannot be read.");
  return build(`data:${kind};base64,${data.replace(/\s/g, "")}`);
}

/** A drawing can hold scripts and fetch things: its text is shown. */
function svg(data) {
  let source = "";
  try {
    source = new TextDecoder().decode(Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)));
  } catch {
    return note("A drawing (SVG) came that cannot be read.");
  }
  return make("div", {}, note("A drawing (SVG) came. It is shown as its text:"), text(source));
}

function picture(part) {
  return media(part, PICTURES, (address) => {
    const image = make("img", { alt: "A picture in the answer" });
    image.src = address;
    const holder = make("div", {}, image);
    image.addEventListener("error", () => holder.replaceChildren(note("A picture came that cannot be read.")));
    return holder;
  });
}

function sound(part) {
  return media(part, SOUNDS, (address) => {
    const player = make("audio", { controls: true, "aria-label": "A sound in the answer" });
    player.src = address;
    return player;
  });
}

function resource(part) {
  const held = part.resource ?? {};
  const about = make("p", {}, "From ", make("code", {}, make("bdi", {}, words(held.uri).slice(0, 2000))), ":");
  if (typeof held.text === "string") return make("div", {}, about, text(held.text));
  const kind = words(held.mimeType);
  const content = { data: held.blob, mimeType: kind };
  if (PICTURES.has(kind)) return make("div", {}, about, picture(content));
  return make("div", {}, about, note("It is not text, so it is not shown."));
}

function show(part) {
  switch (part?.type) {
    case "text":
      return text(words(part.text));
    case "image":
      return picture(part);
    case "audio":
      return sound(part);
    case "resource":
      return resource(part);
    case "resource_link":
      return make("p", {}, makeLink(words(part.uri).slice(0, 2000), words(part.title ?? part.name)));
    default:
      return json(part);
  }
}

/** The whole result of a call. */
export function showResult(result) {
  const parts = Array.isArray(result.content) ? result.content : [];
  const elements = parts.slice(0, MAX_PARTS).map(show);
  if (parts.length > MAX_PARTS) elements.push(note(`${parts.length - MAX_PARTS} more parts are not shown.`));
  if (result.isError === true) elements.unshift(makeFault("The tool says that it failed:"));
  if (result.structuredContent !== undefined) {
    elements.push(make("details", { open: parts.length === 0 }, make("summary", {}, "As JSON"), json(result.structuredContent)));
  }
  if (elements.length === 0) elements.push(note("It answered, and said nothing."));
  return make("div", {}, ...elements);
}
