// Logins of the page: a public OAuth client with PKCE. Tokens live in this page's memory, and end with it.

const RENEW_BEFORE_SECONDS = 30;
const LOGIN_SECONDS = 600;

export class LoginFailed extends Error {}

function encode(bytes) {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function randomText() {
  return encode(crypto.getRandomValues(new Uint8Array(32)));
}

/** One login: of a package, or of the gateway itself. */
export class Login {
  #access = "";
  #refresh = "";
  #endsAt = 0;
  #renewal = null;

  /** `path` is that of the authorization server on this host, `issuer` what it calls itself. */
  constructor({ path, issuer, resource, clientId, redirectUri }) {
    this.path = path;
    this.issuer = issuer;
    this.resource = resource;
    this.clientId = clientId;
    this.redirectUri = redirectUri;
  }

  get isIn() {
    return this.#access !== "";
  }

  /** Opens the login in a window of its own, and ends when it has ended there. */
  async begin(signal) {
    if (!globalThis.isSecureContext) {
      throw new LoginFailed("Browsers let a page log in over https, or on this machine, only.");
    }
    const verifier = randomText();
    const state = randomText();
    const query = new URLSearchParams({
      response_type: "code",
      client_id: this.clientId,
      redirect_uri: this.redirectUri,
      code_challenge_method: "S256",
      state,
    });
    if (this.resource) query.set("resource", this.resource);
    // Opened at once: later the browser would take it for a pop-up that nobody asked for.
    const popup = window.open("about:blank", "_blank", "popup,width=560,height=760");
    if (popup === null) throw new LoginFailed("The browser kept the login window shut. Allow this page to open windows.");
    // Nobody on the way of the login needs this page, so nobody gets to navigate it.
    popup.opener = null;
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
    query.set("code_challenge", encode(digest));
    const answered = this.#waitForAnswer(state, signal);
    popup.location.replace(`${this.path}/authorize?${query}`);
    const fields = await answered;
    if (fields.iss !== this.issuer) throw new LoginFailed("The answer came from somebody else. Nothing was done with it.");
    if (fields.error) throw new LoginFailed(fields.error_description || fields.error);
    await this.#ask({
      grant_type: "authorization_code",
      code: fields.code ?? "",
      redirect_uri: this.redirectUri,
      code_verifier: verifier,
    });
  }

  #waitForAnswer(state, signal) {
    const channel = new BroadcastChannel(`fluidmcp login ${state}`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new LoginFailed("The login took too long.")), LOGIN_SECONDS * 1000);
      signal?.addEventListener("abort", () => reject(new LoginFailed("The login was given up.")), { once: true });
      channel.addEventListener("message", (event) => {
        if (event.data?.kind !== "answer") return;
        clearTimeout(timer);
        channel.postMessage({ kind: "taken" });
        resolve(event.data.fields);
      });
    }).finally(() => setTimeout(() => channel.close(), 1000));
  }

  /** A token that is good for a while, renewed where it is about to end; "" where nobody is logged in. */
  async token() {
    if (!this.isIn) return "";
    if (Date.now() / 1000 > this.#endsAt - RENEW_BEFORE_SECONDS) await this.renew();
    return this.#access;
  }

  /** New tokens for the old ones. Whoever asks meanwhile waits for the same answer. Throws LoginFailed. */
  async renew() {
    if (!this.#refresh) {
      if (Date.now() / 1000 < this.#endsAt) return;
      this.#forget();
      throw new LoginFailed("The login is over. Log in again.");
    }
    this.#renewal ??= this.#ask({ grant_type: "refresh_token", refresh_token: this.#refresh }).finally(() => {
      this.#renewal = null;
    });
    try {
      await this.#renewal;
    } catch (error) {
      if (error.isOver) this.#forget();
      throw error;
    }
  }

  /** Ends the login here, at the gateway and at the provider (RFC 7009). */
  async end() {
    const token = this.#refresh || this.#access;
    this.#forget();
    if (token) await this.#post("revoke", { token });
  }

  #forget() {
    this.#access = this.#refresh = "";
    this.#endsAt = 0;
  }

  async #ask(fields) {
    const response = await this.#post("token", this.resource ? { ...fields, resource: this.resource } : fields);
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) {
      const error = new LoginFailed(answer.error_description || "The login could not be finished.");
      error.isOver = response.status < 500 && response.status !== 429;
      throw error;
    }
    this.#access = answer.access_token;
    this.#refresh = answer.refresh_token ?? "";
    this.#endsAt = Date.now() / 1000 + (answer.expires_in ?? 0);
  }

  async #post(endpoint, fields) {
    try {
      return await fetch(`${this.path}/${endpoint}`, {
        method: "POST",
        body: new URLSearchParams({ ...fields, client_id: this.clientId }),
        credentials: "omit",
        cache: "no-store",
      });
    } catch {
      throw new LoginFailed("The gateway cannot be reached.");
    }
  }
}
