// The page at `/`. What it shows comes from the gateway as a whole page, for whoever this page is logged in as.
import { isBusy, keepFocus, make, makeButton, makeCopyButton, makeFault, replace, setBusy } from "./elements.js";
import { Login, LoginFailed } from "./logins.js";
import { McpClient } from "./mcp.js";
import { describe, showTools } from "./tools.js";

const GATEWAY_HEADER = "X-FluidMCP-Authorization";

/** What this page holds while it is open: nothing of it is kept anywhere. */
const held = {
  gatewayLogin: null,
  token: "",
  logins: new Map(),
};

function main() {
  return document.getElementById("page");
}

/** The headers that say who looks at the page itself. */
async function gatewayCredentials() {
  const token = held.token || (held.gatewayLogin ? await held.gatewayLogin.token() : "");
  return token ? { [GATEWAY_HEADER]: `Bearer ${token}` } : {};
}

/** The same page as the gateway shows it to somebody with these headers: a document, in which no script runs. */
function fetchPage(headers) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.pathname);
    request.responseType = "document";
    request.setRequestHeader("Accept", "text/html");
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.addEventListener("load", () => {
      const shown = request.response?.getElementById("page");
      if (request.status < 400 && shown) resolve(shown);
      else reject(new LoginFailed(request.response?.querySelector("h1")?.textContent ?? "The gateway refused."));
    });
    request.addEventListener("error", () => reject(new LoginFailed("The gateway cannot be reached.")));
    request.send();
  });
}

async function reload() {
  const shown = await fetchPage(await gatewayCredentials());
  const open = new Set([...document.querySelectorAll("details.package[open]")].map((one) => one.id));
  const wasOperating = document.activeElement?.closest("#operator") !== null;
  main().replaceWith(document.adoptNode(shown));
  for (const one of document.querySelectorAll("details.package")) one.open ||= open.has(one.id);
  begin();
  const title = main().querySelector("h1");
  title.tabIndex = -1;
  keepFocus((wasOperating && document.querySelector("#operator-title + p button")) || title);
}

function newLogin(fields) {
  const { clientId, redirectUri } = main().dataset;
  return new Login({ clientId, redirectUri, ...fields });
}

/** Runs what a button began, and says in `place` what went wrong. */
async function attempt(button, place, action) {
  setBusy(button, true);
  replace(place);
  try {
    await action();
  } catch (error) {
    if (!(error instanceof LoginFailed)) throw error;
    replace(place, makeFault(error.message));
  } finally {
    setBusy(button, false);
  }
}

/**
 * A button that begins a login in a window of its own. Whoever closed that window presses it again: what waited for the
 * first one is given up then. `finish(login)` goes on from a login that is done; `place` says how it goes.
 */
function makeLoginButton(label, place, fields, finish) {
  let waiting = null;
  const button = makeButton(label, async () => {
    waiting?.abort();
    const mine = new AbortController();
    waiting = mine;
    replace(place, make("p", { role: "status" }, "It goes on in the window that opened. Press the button again if you closed it."));
    try {
      const login = newLogin(fields);
      await login.begin(mine.signal);
      replace(place);
      await finish(login);
    } catch (error) {
      if (!mine.signal.aborted) replace(place, describe(error));
    }
  }, "primary");
  return button;
}

/** The login of the gateway itself, for strangers. */
function buildEntrance(place) {
  const { root, loginIssuer } = main().dataset;
  const faults = make("div");
  const children = [];
  if (loginIssuer) {
    const button = makeLoginButton("Log in", faults, { path: `${root}/-`, issuer: loginIssuer, resource: "" }, (login) => {
      held.gatewayLogin = login;
      return reload();
    });
    children.push(make("p", {}, button));
  }
  children.push(faults, buildTokenForm(faults, Boolean(loginIssuer)));
  replace(place, ...children);
}

function buildTokenForm(faults, isSecond) {
  const input = make("input", { type: "password", id: "gateway-token", autocomplete: "off", required: true });
  const button = make("button", { class: isSecond ? "secondary slim" : "primary slim" }, "Use this token");
  const label = make("label", { for: "gateway-token" }, isSecond ? "Or use an access token" : "Access token");
  const words = make("p", { class: "small" }, isSecond ? "The operator prints one with "
    : "The operator has it: the one of --secure, or what is printed by ", make("code", {}, "fluidmcp token"),
    ". It stays in this page, and is gone when the page closes.");
  const form = make("form", {}, make("div", { class: "field" }, label, input, words), button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (isBusy(button)) return;
    const token = input.value.trim().replace(/^Bearer\s+/i, "");
    input.value = "";
    attempt(button, faults, async () => {
      if (!/^[\x21-\x7e]+$/.test(token)) throw new LoginFailed("This is no token.");
      held.token = token;
      try {
        await reload();
      } catch (error) {
        held.token = "";
        throw error;
      }
    });
  });
  return form;
}

/** Who the gateway knows, with a way out. */
function buildVisitor(place) {
  const { who } = place.dataset;
  if (!who) return;
  const button = makeButton("Log out", async () => {
    const { gatewayLogin } = held;
    held.gatewayLogin = null;
    held.token = "";
    const ended = [gatewayLogin, ...held.logins.values()].filter(Boolean).map((login) => login.end());
    held.logins.clear();
    await Promise.allSettled(ended);
    location.reload();
  });
  replace(place, make("div", { class: "person" }, make("p", {}, "You are ", make("strong", {}, make("bdi", {}, who)), "."), button));
}

/** One package: its login, its tools, and how to try them. */
class PackagePart {
  constructor(element) {
    this.element = element;
    this.name = element.dataset.package;
    this.path = element.dataset.path;
    this.person = element.querySelector(".person");
    this.offers = element.querySelector(".offers");
    this.faults = make("div");
    this.offers.before(this.faults);
    this.client = new McpClient(`${this.path}/mcp`, () => this.credentials(), () => this.renew());
  }

  get login() {
    return held.logins.get(this.name) ?? null;
  }

  get needsLogin() {
    const { login, hasOwnLogin } = this.element.dataset;
    // The token of a guarded gateway is enough for a package without a login of its own.
    return login === "browser" && !(held.token && !hasOwnLogin);
  }

  async credentials() {
    const token = this.login ? await this.login.token() : "";
    const gateway = held.token ? { [GATEWAY_HEADER]: `Bearer ${held.token}` } : {};
    return token ? { ...gateway, Authorization: `Bearer ${token}` } : gateway;
  }

  async renew() {
    await this.login?.renew();
  }

  begin() {
    if (this.element.dataset.login === "header") return;
    this.person.hidden = false;
    if (this.needsLogin && !this.login?.isIn) this.showLoggedOut();
    else if (this.needsLogin) this.enter();
    else this.showOpen();
  }

  showLoggedOut() {
    const { issuer, resource } = this.element.dataset;
    const fields = { path: this.path, issuer, resource };
    const button = makeLoginButton(`Log in to ${this.name}`, this.faults, fields, (login) => {
      held.logins.set(this.name, login);
      return this.enter();
    });
    replace(this.person, button);
  }

  showOpen() {
    const button = makeButton("Try its tools", () => this.attempt(button, async () => {
      await this.list();
      button.remove();
      keepFocus(this.offers.querySelector("summary"));
    }), "primary");
    replace(this.person, button);
  }

  /** After a login: who it is, and what is there for them. */
  async enter() {
    const out = makeButton("Log out", async () => {
      const { login } = this;
      held.logins.delete(this.name);
      await login?.end().catch(() => {});
      replace(this.offers, make("p", {}, "Log in to see what it offers."));
      this.showLoggedOut();
      keepFocus(this.person.querySelector("button"));
    });
    replace(this.person, await this.describePerson(), out);
    keepFocus(out);
    await this.attempt(out, () => this.list());
  }

  /** A subject alone may be a number that the person has never seen: it is said whose word for them it is. */
  async describePerson() {
    const person = await this.readPerson();
    const name = person?.name ?? person?.email;
    const show = (text) => make("strong", {}, make("bdi", {}, text));
    if (name) return make("p", {}, "You are ", show(name), " here.");
    if (person?.subject) return make("p", {}, "You are logged in. Your provider's name for you is ", show(person.subject), ".");
    return make("p", {}, "You are logged in.");
  }

  async readPerson() {
    const response = await fetch(`${this.path}/me`, { headers: await this.credentials(), credentials: "omit", cache: "no-store" })
      .catch(() => null);
    const answer = response?.ok ? await response.json().catch(() => ({})) : {};
    return answer.person;
  }

  async list() {
    const before = [...this.offers.childNodes];
    replace(this.offers, make("p", { role: "status" }, "Its tools are asked for. A server that does not run is started first."));
    let tools;
    try {
      tools = await this.client.listTools();
    } catch (error) {
      replace(this.offers, ...before);
      throw error;
    }
    // It has answered, whatever it was when the page came.
    const state = this.element.querySelector("summary .state");
    state.className = "state state-running";
    state.textContent = "Running";
    const list = make("div", { class: "offers" }, showTools(tools, this.client));
    this.offers.replaceWith(list);
    this.offers = list;
  }

  async attempt(button, action) {
    setBusy(button, true);
    replace(this.faults);
    try {
      await action();
    } catch (error) {
      replace(this.faults, describe(error));
    } finally {
      setBusy(button, false);
    }
  }
}

/** Tabs of what is a list of clients without scripts. */
function buildTabs(clients) {
  const panels = [...clients.querySelectorAll(":scope > details.client")];
  const list = make("div", { class: "tabs", role: "tablist", "aria-label": "Clients" });
  const tabs = panels.map((panel, at) => {
    const content = panel.querySelector(":scope > div");
    content.id = `${clients.closest("details.package").id}-client-${at}`;
    content.setAttribute("role", "tabpanel");
    const tab = make("button", { type: "button", role: "tab", "aria-controls": content.id }, panel.querySelector("summary").textContent);
    content.setAttribute("aria-label", tab.textContent);
    for (const pre of content.querySelectorAll("pre")) pre.after(makeCopyButton(() => pre.textContent));
    tab.addEventListener("click", () => choose(at));
    list.append(tab);
    return tab;
  });
  const contents = panels.map((panel) => panel.querySelector(":scope > div"));
  function choose(chosen) {
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === chosen));
      tab.tabIndex = at === chosen ? 0 : -1;
      contents[at].hidden = at !== chosen;
    });
  }
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 };
    if (at < 0 || !Object.hasOwn(moves, event.key)) return;
    event.preventDefault();
    const next = (moves[event.key] + tabs.length) % tabs.length;
    choose(next);
    tabs[next].focus();
  });
  replace(clients, list, ...contents);
  choose(0);
}

/** Asks the gateway to shut somebody out, or to let them in again, and shows what is so then. */
async function changeDenyList(action, subject, packageName) {
  const response = await fetch(`${main().dataset.root}/deny-list/${action}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(await gatewayCredentials()) },
    body: JSON.stringify(packageName ? { subject, package: packageName } : { subject }),
    credentials: "omit",
    cache: "no-store",
  }).catch(() => null);
  if (!response?.ok) {
    const answer = await response?.json().catch(() => null);
    throw new LoginFailed(answer?.message ?? "The gateway cannot be reached.");
  }
  await reload();
}

/** The button of a person in the operator's part. Shutting somebody out asks once more. */
function buildDenyButton(line) {
  const faults = make("div");
  const { shutOut, letIn, ofPackage } = line.dataset;
  let isSure = false;
  const button = makeButton(shutOut ? "Shut out" : "Let in again", () => {
    if (shutOut && !isSure) {
      isSure = true;
      button.textContent = "Really shut out, and end what they have open";
      return;
    }
    attempt(button, faults, () => changeDenyList(shutOut ? "revoke" : "allow", shutOut ?? letIn, ofPackage));
  });
  line.append(button, faults);
}

function begin() {
  const entrance = document.getElementById("entrance");
  if (entrance) buildEntrance(entrance);
  const visitor = document.getElementById("visitor");
  if (visitor) buildVisitor(visitor);
  for (const clients of document.querySelectorAll(".clients")) buildTabs(clients);
  for (const address of document.querySelectorAll(".address")) {
    address.append(makeCopyButton(() => address.querySelector("code").textContent));
  }
  for (const element of document.querySelectorAll("details.package")) new PackagePart(element).begin();
  const operator = document.getElementById("operator-title");
  if (operator) {
    const faults = make("div");
    const button = makeButton("Look again", () => attempt(button, faults, reload));
    operator.after(make("p", {}, button), faults);
    for (const line of document.querySelectorAll("[data-shut-out], [data-let-in]")) buildDenyButton(line);
  }
}

begin();
