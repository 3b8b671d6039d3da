// Forms from JSON schemas: of a tool's arguments, and of the questions that a server asks.
import { make, newId, words } from "./elements.js";

const MAX_DEPTH = 3;
const MAX_FIELDS = 100;
// More would take seconds to build, and nobody reads them: the first are proposed, and what is typed is looked up.
const MAX_CHOICES = 200;
const LONG_TEXT_CHARACTERS = 200;
const FORMATS = { email: "email", uri: "url", date: "date" };

export class FormFault extends Error {}

/** A schema without the indirections that many generators write: `$ref` to itself, "this or null". */
function simplify(schema, root, depth = 0) {
  if (typeof schema !== "object" || schema === null || depth > 10) return {};
  if (typeof schema.$ref === "string") {
    const path = schema.$ref.startsWith("#/") ? schema.$ref.slice(2).split("/") : null;
    const target = path?.reduce(
      (node, key) => (Object.hasOwn(node ?? {}, decode(key)) ? node[decode(key)] : undefined), root);
    return target === undefined ? {} : { ...simplify(target, root, depth + 1), ...withoutRef(schema) };
  }
  const choices = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(choices)) {
    const others = choices.filter((choice) => choice?.type !== "null");
    if (others.length === 1) {
      const { anyOf: _any, oneOf: _one, ...rest } = schema;
      return { ...simplify(others[0], root, depth + 1), ...rest };
    }
  }
  if (Array.isArray(schema.type)) {
    const types = schema.type.filter((type) => type !== "null");
    return { ...schema, type: types.length === 1 ? types[0] : undefined };
  }
  return schema;
}

function decode(key) {
  return key.replaceAll("~1", "/").replaceAll("~0", "~");
}

function withoutRef({ $ref: _ref, ...rest }) {
  return rest;
}

/** What can be chosen, as values with their words; null where it is no choice. */
function choicesOf(schema) {
  const titled = schema.oneOf ?? schema.anyOf;
  if (Array.isArray(titled) && titled.length > 0 && titled.every((one) => one && Object.hasOwn(one, "const"))) {
    return titled.map((one) => ({ value: one.const, words: words(one.title ?? one.const) }));
  }
  if (Array.isArray(schema.enum) && schema.enum.every((value) => typeof value !== "object")) {
    return schema.enum.map((value, at) => ({ value, words: words(schema.enumNames?.[at] ?? value) }));
  }
  if (Object.hasOwn(schema, "const") && typeof schema.const !== "object") {
    return [{ value: schema.const, words: words(schema.const) }];
  }
  return null;
}

/**
 * The form of an object. `element` holds the fields; `read()` gives the object, or throws FormFault after it has
 * marked the first field that is not good.
 */
export function buildForm(schema) {
  const root = typeof schema === "object" && schema !== null ? schema : {};
  const counter = { left: MAX_FIELDS };
  const form = buildObject(simplify(root, root), root, 0, counter);
  if (form === null) {
    const field = jsonField("Arguments, as JSON", "", true, {}, "{}");
    return { element: field.element, read: () => field.read() ?? {} };
  }
  return form;
}

function buildObject(schema, root, depth, counter) {
  const properties = schema.properties;
  if (typeof properties !== "object" || properties === null) {
    // An object that takes nothing has no fields; one that takes anything is written as it is.
    const takesNothing = schema.additionalProperties === false || (depth === 0 && schema.patternProperties === undefined
      && schema.additionalProperties === undefined && !schema.anyOf && !schema.oneOf && !schema.allOf);
    return takesNothing ? { element: make("div"), read: () => ({}) } : null;
  }
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  const fields = [];
  for (const [name, raw] of Object.entries(properties)) {
    counter.left -= 1;
    if (counter.left < 0) return null;
    fields.push([name, buildField(name, simplify(raw, root), root, required.has(name), depth, counter)]);
  }
  const element = make("div", {}, ...fields.map(([, field]) => field.element));
  const read = () => {
    const entries = fields.map(([name, field]) => [name, field.read()]).filter(([, value]) => value !== undefined);
    return Object.fromEntries(entries);
  };
  return { element, read };
}

function buildField(name, schema, root, isRequired, depth, counter) {
  const label = typeof schema.title === "string" && schema.title ? schema.title : name;
  const about = typeof schema.description === "string" ? schema.description : "";
  const choices = choicesOf(schema);
  if (choices && choices.length > MAX_CHOICES) return typedChoiceField(label, about, isRequired, schema, choices);
  if (choices) return choiceField(label, about, isRequired, schema, choices);
  switch (schema.type) {
    case "boolean":
      return booleanField(label, about, isRequired, schema);
    case "integer":
    case "number":
      return numberField(label, about, isRequired, schema);
    case "string":
      return textField(label, about, isRequired, schema);
    case "array": {
      const several = choicesOf(simplify(schema.items, root));
      if (several === null) return jsonField(label, about, isRequired, schema, "[]");
      const field = several.length > MAX_CHOICES ? typedSeveralField : severalField;
      return field(label, about, isRequired, schema, several);
    }
    case "object": {
      const nested = depth < MAX_DEPTH && isRequired ? buildObject(schema, root, depth + 1, counter) : null;
      return nested && Object.keys(schema.properties ?? {}).length ? group(label, about, nested)
        : jsonField(label, about, isRequired, schema, "{}");
    }
    default:
      return jsonField(label, about, isRequired, schema, "");
  }
}

function group(label, about, nested) {
  const legend = make("legend", {}, make("bdi", {}, label));
  const note = about ? make("p", { class: "small" }, make("bdi", {}, about)) : null;
  return { element: make("fieldset", {}, legend, note, nested.element), read: nested.read };
}

/** A labelled field around an input, whose `interpret` turns text into a value or throws what is wrong. */
function wrap(label, about, isRequired, input, interpret) {
  const id = newId();
  input.id = id;
  const faultId = `${id}-fault`;
  const aboutId = `${id}-about`;
  const fault = make("p", { class: "fault", id: faultId, hidden: true });
  input.setAttribute("aria-describedby", about ? `${aboutId} ${faultId}` : faultId);
  if (isRequired) input.required = true;
  const element = make(
    "div",
    { class: "field" },
    make("label", { for: id }, make("bdi", {}, label), isRequired ? "" : " (optional)"),
    input,
    fault,
    about ? make("p", { class: "small", id: aboutId }, make("bdi", {}, about)) : null,
  );
  const read = () => {
    fault.hidden = true;
    input.removeAttribute("aria-invalid");
    try {
      if (input.validity?.badInput) throw new FormFault("This is not of the right form.");
      return interpret(input.value);
    } catch (error) {
      if (!(error instanceof FormFault)) throw error;
      fault.textContent = error.message;
      fault.hidden = false;
      input.setAttribute("aria-invalid", "true");
      input.focus();
      throw error;
    }
  };
  return { element, read };
}

/** undefined for an optional field that is empty. Throws FormFault for a required one. */
function missing(isRequired) {
  if (isRequired) throw new FormFault("This is needed.");
  return undefined;
}

function textField(label, about, isRequired, schema) {
  const isLong = (schema.maxLength ?? 0) > LONG_TEXT_CHARACTERS || /content|body|text|message|code|query/i.test(label);
  const kind = FORMATS[schema.format] ?? "text";
  const input = isLong && kind === "text" ? make("textarea", { rows: 3 }) : make("input", { type: kind, autocomplete: "off" });
  input.spellcheck = false;
  if (typeof schema.default === "string") input.value = schema.default;
  return wrap(label, about, isRequired, input, (text) => {
    if (text === "") return isRequired && (schema.minLength ?? 0) < 1 && schema.format === undefined ? "" : missing(isRequired);
    const length = [...text].length;
    if (length < (schema.minLength ?? 0)) throw new FormFault(`At least ${schema.minLength} characters.`);
    if (length > (schema.maxLength ?? Infinity)) throw new FormFault(`At most ${schema.maxLength} characters.`);
    if (kind !== "text" && !input.checkValidity()) throw new FormFault(`This is not of the form "${schema.format}".`);
    return text;
  });
}

function numberField(label, about, isRequired, schema) {
  const input = make("input", { type: "number", step: schema.type === "integer" ? 1 : "any", autocomplete: "off" });
  if (typeof schema.default === "number") input.value = String(schema.default);
  return wrap(label, about, isRequired, input, (text) => {
    if (text === "") return missing(isRequired);
    const value = Number(text);
    if (!Number.isFinite(value)) throw new FormFault("This is no number.");
    if (schema.type === "integer" && !Number.isSafeInteger(value)) throw new FormFault("This is no whole number.");
    if (value < (schema.minimum ?? -Infinity)) throw new FormFault(`At least ${schema.minimum}.`);
    if (value > (schema.maximum ?? Infinity)) throw new FormFault(`At most ${schema.maximum}.`);
    return value;
  });
}

function booleanField(label, about, isRequired, schema) {
  const choices = [{ value: true, words: "Yes" }, { value: false, words: "No" }];
  return choiceField(label, about, isRequired, schema, choices);
}

function choiceField(label, about, isRequired, schema, choices) {
  const options = choices.map((choice, at) => {
    return make("option", { value: at, selected: choice.value === schema.default }, choice.words);
  });
  const input = make("select", {}, make("option", { value: "" }, isRequired ? "Choose" : "Leave out"), ...options);
  return wrap(label, about, isRequired, input, (at) => (at === "" ? missing(isRequired) : choices[Number(at)].value));
}

/** Finds the value of what somebody typed: its words, or the value itself. Throws FormFault where there is none. */
function makeLookup(choices) {
  let values = null;
  return (text, fault = "This is none of its values.") => {
    // Of equal keys the last one counts: the first choice of equal words, and words before values.
    values ??= new Map([
      ...choices.map((choice) => [words(choice.value), choice.value]),
      ...choices.map((choice) => [choice.words, choice.value]).reverse(),
    ]);
    const found = values.has(text) ? text : text.trim();
    if (!values.has(found)) throw new FormFault(fault);
    return values.get(found);
  };
}

/** A choice of too many values for a list of all of them. */
function typedChoiceField(label, about, isRequired, schema, choices) {
  const proposed = make("datalist", { id: newId() });
  proposed.append(...choices.slice(0, MAX_CHOICES).map((choice) => make("option", { value: choice.words })));
  const input = make("input", { type: "text", list: proposed.id, autocomplete: "off", spellcheck: "false" });
  if (schema.default !== undefined && schema.default !== null) {
    input.value = choices.find((choice) => choice.value === schema.default)?.words ?? "";
  }
  const lookUp = makeLookup(choices);
  const hint = `One of ${choices.length} values.${about ? ` ${about}` : ""}`;
  const field = wrap(label, hint, isRequired, input, (text) => (text === "" ? missing(isRequired) : lookUp(text)));
  field.element.append(proposed);
  return field;
}

/** Several of too many values for a box for each. */
function typedSeveralField(label, about, isRequired, schema, choices) {
  const input = make("textarea", { rows: 4, spellcheck: "false" });
  const chosen = new Set(Array.isArray(schema.default) ? schema.default : []);
  input.value = choices.filter((choice) => chosen.has(choice.value)).map((choice) => choice.words).join("\n");
  const lookUp = makeLookup(choices);
  const hint = `Some of ${choices.length} values, each on a line of its own.${about ? ` ${about}` : ""}`;
  return wrap(label, hint, isRequired, input, (text) => {
    const lines = text.split("\n").filter((line) => line !== "");
    if (lines.length === 0 && !isRequired) return undefined;
    const values = [...new Set(lines.map((line) => lookUp(line, `This is none of its values: ${line}`)))];
    checkCount(values, schema);
    return values;
  });
}

/** Throws FormFault for a list that is too short or too long. */
function checkCount(values, schema) {
  const least = schema.minItems ?? 0;
  const most = schema.maxItems ?? Infinity;
  if (values.length < least) throw new FormFault(`Choose at least ${least}.`);
  if (values.length > most) throw new FormFault(`Choose at most ${most}.`);
}

function severalField(label, about, isRequired, schema, choices) {
  const chosen = Array.isArray(schema.default) ? schema.default : [];
  const boxes = choices.map((choice) => make("input", { type: "checkbox", checked: chosen.includes(choice.value) }));
  const fault = make("p", { class: "fault", hidden: true, role: "alert" });
  const lines = choices.map((choice, at) => {
    return make("label", { class: "remember" }, boxes[at], make("span", {}, make("bdi", {}, choice.words)));
  });
  const legend = make("legend", {}, make("bdi", {}, label), isRequired ? "" : " (optional)");
  const note = about ? make("p", { class: "small" }, make("bdi", {}, about)) : null;
  const read = () => {
    const values = choices.filter((_, at) => boxes[at].checked).map((choice) => choice.value);
    fault.hidden = true;
    if (values.length === 0 && !isRequired) return undefined;
    try {
      checkCount(values, schema);
    } catch (error) {
      fault.textContent = error.message;
      fault.hidden = false;
      boxes[0]?.focus();
      throw error;
    }
    return values;
  };
  return { element: make("fieldset", {}, legend, note, ...lines, fault), read };
}

function jsonField(label, about, isRequired, schema, empty) {
  const input = make("textarea", { rows: 4, spellcheck: "false", placeholder: empty });
  if (schema.default !== undefined && schema.default !== null) input.value = JSON.stringify(schema.default, null, 2);
  const hint = `${about}${about ? "\n" : ""}Written as JSON.`;
  return wrap(label, hint, isRequired, input, (text) => {
    if (text.trim() === "") return missing(isRequired);
    let value;
    try {
      value = JSON.parse(text);
    } catch {
      throw new FormFault("This is no JSON.");
    }
    if (schema.type === "array" && !Array.isArray(value)) throw new FormFault("This is no list: [...].");
    if ((schema.type === "object" || empty === "{}") && (typeof value !== "object" || value === null || Array.isArray(value))) {
      throw new FormFault("This is no object: {...}.");
    }
    return value;
  });
}
