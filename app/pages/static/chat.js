// The chat page. What people read stands in texts.json; what they say goes through the public chat API and nowhere else.

const API = new URL("../api/v1/", import.meta.url);
const LANGUAGES = ["nb", "nn", "en"];
const LONGEST_TEXT = 2000;
const COUNTER_FROM = 1800;
const REQUEST_MS = 20_000;
const SILENCE_MS = 40_000; // the server sends a keep-alive every 15 seconds
const LONGEST_WAIT_MS = 30_000;
const SESSION_KEY = "personvern";

// ------------------------------------------------------------------------------------------------ texts and elements

const texts = await loadTexts();

async function loadTexts() {
  const response = await fetch(new URL("texts.json", import.meta.url));
  if (!response.ok) throw new Error(`texts.json: ${response.status}`);
  return response.json();
}

function words(language, key, values = {}) {
  const found = key.split(".").reduce((node, part) => node[part], texts[language]);
  return found.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

const at = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== null && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

const capitalised = (name, language) => name.charAt(0).toLocaleUpperCase(language) + name.slice(1);
const isTypedOn = matchMedia("(hover: hover) and (pointer: fine)");
const movesLittle = matchMedia("(prefers-reduced-motion: reduce)");

/** The one live region of the page: what is added here is read aloud, politely and once. */
function announce(...parts) {
  const spoken = make("div", {}, ...parts.map((part) => make("p", { lang: part.language ?? language }, part.text)));
  at("announcements").append(spoken);
  setTimeout(() => spoken.remove(), 10_000);
}

// ------------------------------------------------------------------------------------------------------- the session

/** What the tab remembers: which conversation is whose, and the language if one was chosen. Never what was said. */
const session = {
  conversations: {},
  language: null,
  ...readSession(),
  save() {
    try {
      sessionStorage.setItem(
        SESSION_KEY,
        JSON.stringify({ conversations: this.conversations, language: this.language }),
      );
    } catch {
      // No storage in this browser: the conversation lasts until the page is reloaded.
    }
  },
};

function readSession() {
  try {
    const stored = JSON.parse(sessionStorage.getItem(SESSION_KEY)) ?? {};
    return {
      conversations: stored.conversations ?? {},
      language: LANGUAGES.includes(stored.language) ? stored.language : null,
    };
  } catch {
    return {};
  }
}

function languageOfBrowser() {
  for (const tag of navigator.languages ?? []) {
    const code = tag.toLowerCase().split("-")[0];
    if (code === "no") return "nb";
    if (LANGUAGES.includes(code)) return code;
  }
  return "nb";
}

let language = session.language ?? languageOfBrowser();

// ----------------------------------------------------------------------------------------------------------- requests

/** The service answered, and said no. */
class Problem extends Error {
  constructor(status, { type, detail, language: spoken } = {}, retryAfter = 0) {
    super(`${status} ${type ?? ""}`);
    this.status = status;
    this.detail = detail ?? words(language, "problem.unknown");
    this.language = detail && LANGUAGES.includes(spoken) ? spoken : language;
    this.retryAfter = retryAfter;
  }
}

/** No answer from the service: no network, a restart, a proxy in front of nothing. */
class Unreachable extends Error {
  get detail() {
    return words(language, "problem.unreachable");
  }

  get language() {
    return language;
  }
}

const described = (error) => (error instanceof Problem || error instanceof Unreachable ? error : new Problem(0));

async function request(path, { method = "GET", body, token, headers = {}, signal } = {}) {
  let response;
  try {
    response = await fetch(new URL(path, API), {
      method,
      cache: "no-store",
      signal: signal ?? AbortSignal.timeout(REQUEST_MS),
      headers: {
        "Accept-Language": language,
        ...(body ? { "Content-Type": "application/json" } : {}),
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
        ...headers,
      },
      body: body ? JSON.stringify(body) : undefined,
    });
  } catch {
    throw new Unreachable();
  }
  if (response.ok) return response;
  if ([502, 503, 504].includes(response.status)) throw new Unreachable();
  const isProblem = response.headers.get("Content-Type")?.startsWith("application/problem+json");
  const said = isProblem ? await response.json().catch(() => ({})) : {};
  throw new Problem(response.status, said, Number(response.headers.get("Retry-After")) || 0);
}

async function requestJson(path, options) {
  const response = await request(path, options);
  try {
    return await response.json();
  } catch {
    throw new Unreachable();
  }
}

/** The events of a server-sent stream; `heard` is called for every piece, keep-alives too. */
async function* serverSentEvents(response, heard) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { number: 0, kind: "message", lines: [] };
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const whole of lines) {
      const line = whole.endsWith("\r") ? whole.slice(0, -1) : whole;
      if (line === "") {
        if (event.lines.length) {
          yield { number: event.number, kind: event.kind, data: JSON.parse(event.lines.join("\n")) };
        }
        event = { number: 0, kind: "message", lines: [] };
        continue;
      }
      const [, field, content] = /^([^:]*):? ?(.*)$/.exec(line);
      if (field === "id") event.number = Number(content) || 0;
      else if (field === "event") event.kind = content;
      else if (field === "data") event.lines.push(content);
    }
  }
}

function newClientId() {
  // randomUUID is missing where the page is served without encryption to another machine.
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// ---------------------------------------------------------------------------------------------- what is said, as seen

const LINK = /(https?:\/\/[^\s<>"«»]+|www\.[^\s<>"«»]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)/g;

/** A text with its addresses as links. */
function linked(text) {
  return text.split(LINK).flatMap((part, index) => {
    if (index % 2 === 0) return part ? [part] : [];
    const [, address, tail] = /^(.*?)([.,;:!?)]*)$/s.exec(part);
    const target = address.includes("@") && !address.includes("/") ? `mailto:${address}` : webAddress(address);
    if (!target) return [part];
    const outside = target.startsWith("http") ? { target: "_blank", rel: "noopener noreferrer" } : {};
    return [make("a", { href: target, ...outside }, address), tail];
  });
}

function webAddress(address) {
  const whole = address.startsWith("www.") ? `https://${address}` : address;
  return URL.canParse(whole) && /^https?:$/.test(new URL(whole).protocol) ? whole : null;
}

const paragraphs = (text) =>
  text
    .split(/\n{2,}/)
    .map((paragraph) => paragraph.trim())
    .filter(Boolean);

/** A text line by line, just as it stands, with its bullets hanging. */
function verbatim(text) {
  return text.split("\n").map((line) => {
    const bullet = /^(\s*)[•◦▪‣·*–-]\s/.exec(line);
    const depth = bullet ? Math.min(1 + Math.floor(bullet[1].replaceAll("\t", "  ").length / 2), 3) : 0;
    return make("span", { class: line.trim() ? `line depth-${depth}` : "line blank" }, `${line}\n`);
  });
}

function quotesOf(message) {
  const spoken = message.language;
  const details = make("details", { class: "quotes" });
  // "This is what the statement says about X:" has its answer in the quote alone.
  details.open = endsOpen(message);
  details.append(
    make("summary", {}, icon("open"), make("span", {}, words(spoken, "quote.show"))),
    ...message.quotes.map((quote) => quoteOf(quote, spoken)),
  );
  if (message.source) details.append(sourceOf(message.source, spoken, message.quotes[0].language));
  return details;
}

const endsOpen = (message) => Boolean(message.quotes?.length) && message.text.trimEnd().endsWith(":");
const isForeign = (one, other) => (one === "en") !== (other === "en");

function quoteOf(quote, spoken) {
  const { translation } = quote;
  const original = isForeign(quote.language, spoken) && words(spoken, `quote.original.${quote.language}`);
  return make(
    "figure",
    { class: "quote" },
    make(
      "figcaption",
      {},
      make("span", { class: "heading", lang: quote.language }, quote.heading),
      original ? make("span", { class: "mark" }, original) : null,
    ),
    make("blockquote", { lang: quote.language }, ...verbatim(quote.text)),
    translation
      ? make(
          "div",
          { class: "translation" },
          make(
            "p",
            { class: "translation-title" },
            make("span", {}, words(spoken, "quote.translation")),
            make(
              "span",
              { class: translation.reviewed ? "mark good" : "mark careful" },
              words(spoken, translation.reviewed ? "quote.reviewed" : "quote.unreviewed"),
            ),
          ),
          make("div", { class: "translated", lang: translation.language }, ...verbatim(translation.text)),
        )
      : null,
  );
}

function sourceOf(source, spoken, written = spoken) {
  const [before, after] = words(spoken, "quote.source").split("{title}");
  const title = make("span", {}, before, make("span", { lang: written }, source.title), after);
  const address = source.address ? webAddress(source.address) : null;
  const line = make("p", { class: "source" });
  line.append(
    address
      ? make(
          "a",
          { href: address, target: "_blank", rel: "noopener noreferrer" },
          title,
          make("span", { class: "visually-hidden" }, ` (${words(spoken, "quote.new_tab")})`),
        )
      : title,
  );
  if (source.version) {
    line.append(make("span", {}, words(spoken, "quote.version", { version: versionOf(source.version, spoken) })));
  }
  if (source.note) line.append(make("span", { class: "note" }, source.note));
  return line;
}

function versionOf(version, spoken) {
  if (!/^\d{4}-\d\d-\d\d$/.test(version)) return version;
  const locale = spoken === "en" ? "en-GB" : spoken;
  return new Intl.DateTimeFormat(locale, { dateStyle: "long", timeZone: "UTC" }).format(new Date(version));
}

function feedbackOn(message, give) {
  const buttons = [true, false].map((helpful) =>
    make(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-pressed": "false",
        click: async ({ currentTarget }) => {
          const before = buttons.map((button) => button.getAttribute("aria-pressed"));
          for (const button of buttons) button.setAttribute("aria-pressed", String(button === currentTarget));
          try {
            await give(helpful);
          } catch {
            buttons.forEach((button, index) => button.setAttribute("aria-pressed", before[index]));
          }
        },
      },
      words(message.language, helpful ? "feedback.yes" : "feedback.no"),
    ),
  );
  const question = words(message.language, "feedback.question");
  return make(
    "div",
    { class: "feedback", role: "group", "aria-label": question },
    make("span", { "aria-hidden": "true" }, question),
    ...buttons,
  );
}

// ------------------------------------------------------------------------------------------------- one conversation

/** A message of the visitor on its way: shown at once, confirmed by the service's answer or by its event. */
class Outgoing {
  constructor(chat, { text, offer = null, button = null }) {
    this.chat = chat;
    this.clientId = newClientId();
    this.text = text;
    this.offer = offer;
    this.button = button;
    this.state = "sending";
    this.problem = null;
    this.retryAt = 0;
    this.isMasked = false;
    this.bubble = make("div", { class: "bubble" }, make("p", { class: "text" }, text));
    this.status = make("div", { class: "sending-state" });
    this.item = make(
      "li",
      { class: "message visitor", lang: language, tabindex: "-1" },
      authorOf("visitor", language),
      this.bubble,
      this.status,
    );
    this.retryButton = make("button", { type: "button", class: "quiet", click: () => this.chat.retry(this) });
    this.render();
  }

  become(state, problem = null) {
    this.state = state;
    this.problem = problem;
    this.retryAt = problem?.retryAfter ? Date.now() + problem.retryAfter * 1000 : 0;
    if (this.offer && state === "failed" && problem.status !== 409) this.button?.removeAttribute("aria-disabled");
    this.render();
  }

  confirm(message) {
    const cleaned = this.text.replace(/[^\P{Cc}\n\t]/gu, "").trim();
    this.isMasked = !this.offer && message.text !== undefined && message.text !== cleaned;
    if (message.text !== undefined) this.bubble.replaceChildren(make("p", { class: "text" }, message.text));
    if (message.language) this.bubble.lang = message.language;
    this.become("sent");
  }

  /** What went wrong can be gone by itself: no use in trying a text again that is too long. */
  get canRetry() {
    return this.problem.status === 429 || this.problem.status >= 500 || this.problem.status === 0;
  }

  render() {
    clearTimeout(this.countdown);
    this.item.dataset.state = this.state;
    this.status.replaceChildren();
    this.status.lang = language;
    this.status.className = `sending-state ${this.state}`;
    if (this.state === "sending") this.status.append(words(language, "sending.now"));
    if (this.state === "waiting") this.status.append(words(language, "sending.waiting"));
    if (this.state === "sent" && this.isMasked) this.status.append(words(language, "sending.masked"));
    if (this.state === "failed") this.renderFailure();
  }

  renderFailure() {
    const actions = make("div", { class: "actions" });
    if (this.canRetry) {
      actions.append(this.retryButton);
      this.renderCountdown();
    }
    const takeBack = this.offer ? "sending.remove" : "sending.edit";
    actions.append(
      make("button", { type: "button", class: "quiet", click: () => this.chat.takeBack(this) }, words(language, takeBack)),
    );
    this.status.append(
      make(
        "p",
        {},
        icon("alert"),
        make(
          "span",
          {},
          `${words(language, "sending.failed")} `,
          make("span", { lang: this.problem.language }, this.problem.detail),
        ),
      ),
      actions,
    );
  }

  renderCountdown() {
    const seconds = Math.ceil((this.retryAt - Date.now()) / 1000);
    this.retryButton.textContent =
      seconds > 0 ? words(language, "sending.retry_in", { seconds }) : words(language, "sending.retry");
    if (seconds > 0) {
      this.retryButton.setAttribute("aria-disabled", "true");
      this.countdown = setTimeout(() => this.renderCountdown(), 1000);
    } else this.retryButton.removeAttribute("aria-disabled");
  }
}

class Chat {
  constructor(company, record, opening = null) {
    this.company = company;
    this.record = record;
    this.isOpen = false;
    this.ended = null;
    this.isLoaded = false;
    this.last = 0;
    this.draft = "";
    this.seen = new Set();
    this.outgoing = new Map();
    this.queue = [];
    this.isFlushing = false;
    this.unanswered = new Set();
    this.answered = new Set();
    this.untold = [];
    this.isLost = false;
    this.failures = 0;
    this.heardAt = 0;
    this.list = make("ol", { class: "messages", role: "list" });
    this.suggestions = make("div", { class: "choices suggestions", role: "group" });
    this.typing = make("div", { class: "typing", hidden: true });
    this.view = make("div", { class: "conversation" }, this.list, this.suggestions, this.typing);
    if (opening) {
      for (const message of opening.messages) this.receive(message, true);
      this.last = opening.last_event;
      this.isLoaded = true;
    }
    this.renderSuggestions();
    this.renderPage();
  }

  get path() {
    return `conversations/${encodeURIComponent(this.record.id)}`;
  }

  call(path, options = {}) {
    return request(`${this.path}${path}`, { token: this.record.token, ...options });
  }

  // ---- being looked at

  open() {
    this.isOpen = true;
    at("log").replaceChildren(this.view);
    if (!this.ended) this.run();
  }

  leave() {
    this.isOpen = false;
    this.draft = at("message").value;
    this.controller?.abort();
    this.wake();
  }

  /** What is written in the language of the page; messages keep their own. */
  renderPage() {
    for (const entry of this.outgoing.values()) entry.render();
    this.suggestions.setAttribute("aria-label", words(language, "chat.suggestions"));
    this.typing.lang = language;
    this.typing.replaceChildren(
      make("span", { class: "visually-hidden" }, words(language, this.isLoaded ? "chat.typing" : "chat.loading")),
      make("span", { class: "dots", "aria-hidden": "true" }, make("i"), make("i"), make("i")),
    );
    this.typing.hidden = Boolean(this.ended) || (this.isLoaded && !this.isTyping);
  }

  get isTyping() {
    return this.unanswered.size > 0 || Date.now() < (this.typingUntil ?? 0);
  }

  renderSuggestions() {
    const texts = this.record.suggestions ?? [];
    const isNew = !this.outgoing.size && !this.list.querySelector(".visitor");
    this.suggestions.hidden = !isNew || !texts.length || Boolean(this.ended);
    this.suggestions.lang = this.record.language;
    this.suggestions.replaceChildren(
      ...texts.map((text) =>
        make(
          "button",
          {
            type: "button",
            class: "choice",
            click: () => moveFocus(this.say({ text })),
          },
          text,
        ),
      ),
    );
  }

  // ---- listening

  async run() {
    if (this.isRunning) return;
    this.isRunning = true;
    while (this.isOpen && !this.ended) {
      try {
        if (!this.isLoaded) await this.load();
        await this.listen();
      } catch (error) {
        if (!this.isOpen) break;
        if (error instanceof Problem && [401, 403, 404].includes(error.status)) {
          this.end("gone");
          break;
        }
      }
      if (!this.isOpen || this.ended) break;
      this.failures += 1;
      if (this.failures > 1 || !navigator.onLine) this.lose();
      const wait = Math.min(1000 * 2 ** (this.failures - 1), LONGEST_WAIT_MS);
      await this.pause(wait * (0.7 + 0.3 * Math.random()));
    }
    this.isRunning = false;
    if (this.isOpen && !this.ended) this.run(); // opened again while the old stream was being closed
  }

  pause(milliseconds) {
    if (this.isWoken) {
      this.isWoken = false;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    }).finally(() => {
      this.wakeUp = null;
    });
  }

  wake() {
    if (this.wakeUp) this.wakeUp();
  }

  /** Try at once, with a new line if there is one. */
  reconnect() {
    if (!this.wakeUp) this.isWoken = Boolean(this.isRunning);
    this.controller?.abort();
    this.wake();
    this.flush();
  }

  async load() {
    let before;
    do {
      before = this.last;
      const { events } = await requestJson(`${this.path}/messages?after=${before}`, { token: this.record.token });
      for (const event of events) this.apply(event, true);
    } while (this.last > before);
    this.isLoaded = true;
    this.renderSuggestions();
    this.renderPage();
    follow({ always: true, atOnce: true });
  }

  async listen() {
    const controller = new AbortController();
    this.controller = controller;
    let timer;
    const heard = () => {
      this.heardAt = Date.now();
      clearTimeout(timer);
      timer = setTimeout(() => controller.abort(), SILENCE_MS);
    };
    heard();
    try {
      const response = await this.call("/events", {
        signal: controller.signal,
        headers: { Accept: "text/event-stream", "Last-Event-ID": String(this.last) },
      });
      this.failures = 0;
      this.isWoken = false;
      this.find();
      for await (const event of serverSentEvents(response, heard)) {
        if (!this.isOpen) return;
        this.apply(event, false);
      }
    } finally {
      clearTimeout(timer);
      controller.abort();
    }
  }

  apply({ number, kind, data }, isOld) {
    if (number) {
      if (number <= this.last) return;
      this.last = number;
    }
    if (kind === "message") this.receive(data, isOld);
    else if (kind === "turn_done") this.endTurn(data, isOld);
    else if (kind === "typing") this.showTyping();
    else if (kind === "handover") this.tellOfHandover(isOld);
    else if (kind === "closed") this.end(data?.reason === "erased" ? "erased" : "closed");
  }

  receive(message, isOld) {
    if (this.seen.has(message.id)) return;
    this.seen.add(message.id);
    if (message.author === "visitor") {
      this.receiveOwn(message);
      return;
    }
    this.add(this.itemOf(message));
    if (isOld) return;
    // A bot's turn is read aloud when it is complete; what comes outside a turn, at once.
    if (message.author === "bot" && message.in_reply_to) this.untold.push(message);
    else announce(...spokenParts(message));
  }

  receiveOwn(message) {
    const entry = this.outgoing.get(message.client_id);
    if (entry) this.settle(entry, message);
    else {
      const bubble = make("div", { class: "bubble" }, make("p", { class: "text" }, message.text));
      const { language: spoken } = message;
      this.add(make("li", { class: "message visitor", lang: spoken }, authorOf("visitor", spoken), bubble));
      this.markUsed(message.text);
      this.renderSuggestions();
    }
    this.waitFor(message.client_id);
  }

  endTurn({ client_id: clientId }, isOld) {
    this.answered.add(clientId);
    this.unanswered.delete(clientId);
    this.typingUntil = 0;
    this.renderPage();
    if (!isOld && this.untold.length) announce(...this.untold.flatMap(spokenParts));
    this.untold = [];
  }

  waitFor(clientId) {
    if (clientId && !this.answered.has(clientId)) this.unanswered.add(clientId);
    this.renderPage();
    follow();
  }

  showTyping() {
    this.typingUntil = Date.now() + 10_000;
    setTimeout(() => this.renderPage(), 10_100);
    this.renderPage();
    follow();
  }

  tellOfHandover(isOld) {
    const text = words(language, "chat.handover");
    this.add(make("li", { class: "message system", lang: language }, make("p", { class: "text" }, text)));
    if (!isOld) announce({ text });
  }

  /** Where buttons that do something were used earlier: the record tells it by the message that they became. */
  markUsed(label) {
    for (const button of this.list.querySelectorAll("button[data-once]:not([aria-disabled])")) {
      if (button.textContent === label) button.setAttribute("aria-disabled", "true");
    }
  }

  /** Messages stand in the order of the record; those that have not reached it yet come last. */
  add(item) {
    this.list.insertBefore(item, this.queue[0]?.item ?? null);
    follow();
  }

  itemOf(message) {
    const spoken = message.language;
    const kind = message.author === "bot" ? "bot" : message.author === "staff" ? "staff" : "system";
    const item = make("li", { class: `message ${kind}`, lang: spoken }, authorOf(message.author, spoken));
    const bubble = make("div", { class: kind === "system" ? "remark" : "bubble" });
    bubble.append(...paragraphs(message.text).map((text) => make("p", { class: "text" }, ...linked(text))));
    if (message.quotes?.length) bubble.append(quotesOf(message));
    else if (message.source) bubble.append(sourceOf(message.source, spoken));
    if (message.author === "bot" && ["answer", "silent"].includes(message.act)) {
      const path = `/messages/${encodeURIComponent(message.id)}/feedback`;
      bubble.append(feedbackOn(message, (helpful) => this.call(path, { method: "POST", body: { helpful } })));
    }
    item.append(bubble);
    if (message.offers?.length) item.append(this.offersOf(message));
    return item;
  }

  offersOf(message) {
    return make(
      "div",
      { class: "choices", role: "group", "aria-label": words(message.language, "chat.offers") },
      ...message.offers.map((offer) =>
        make(
          "button",
          {
            type: "button",
            class: "choice",
            "data-once": offer.kind !== "topic", // a question may be asked again
            click: ({ currentTarget }) => this.choose(offer, currentTarget),
          },
          offer.label,
        ),
      ),
    );
  }

  choose(offer, button) {
    if (button.getAttribute("aria-disabled") || this.queue.some((entry) => entry.offer === offer.id)) return;
    if (offer.kind !== "topic") button.setAttribute("aria-disabled", "true");
    const entry = this.say({ text: offer.label, offer: offer.id, button });
    if (!button.matches(":focus-visible")) moveFocus(entry);
  }

  // ---- speaking

  say(what) {
    const entry = new Outgoing(this, what);
    this.list.append(entry.item);
    this.outgoing.set(entry.clientId, entry);
    this.queue.push(entry);
    this.renderSuggestions();
    follow({ always: true });
    this.flush();
    return entry;
  }

  /** Send what waits, one after the other, so that the order of what was said holds. */
  async flush() {
    if (this.isFlushing || this.ended) return;
    this.isFlushing = true;
    clearTimeout(this.flushTimer);
    while (this.queue.length && !this.ended) {
      const entry = this.queue[0];
      entry.become("sending");
      try {
        const body = { client_id: entry.clientId, ...(entry.offer ? { offer: entry.offer } : { text: entry.text }) };
        const reply = await requestJson(`${this.path}/messages`, { method: "POST", token: this.record.token, body });
        this.seen.add(reply.id);
        this.settle(entry, reply);
        this.waitFor(entry.clientId);
        this.find();
      } catch (error) {
        if (entry.state === "sent") continue; // its event came although the answer was lost
        if (error instanceof Unreachable) {
          for (const waiting of this.queue) waiting.become("waiting");
          this.lose();
          this.flushTimer = setTimeout(() => this.flush(), 5000);
          break;
        }
        const problem = described(error);
        this.queue = this.queue.filter((other) => other !== entry);
        entry.become("failed", problem);
        if (problem.status === 401) this.end("gone");
        else {
          announce({ text: words(language, "sending.failed") }, { text: problem.detail, language: problem.language });
          follow();
        }
      }
    }
    this.isFlushing = false;
  }

  settle(entry, message) {
    this.queue = this.queue.filter((other) => other !== entry);
    if (entry.state !== "sent") entry.confirm(message);
  }

  retry(entry) {
    if (entry.retryAt > Date.now()) return;
    // Tried again, it is the latest thing said.
    this.list.append(entry.item);
    this.queue.push(entry);
    entry.become("sending");
    follow({ always: true });
    this.flush();
    moveFocus(entry);
  }

  takeBack(entry) {
    this.outgoing.delete(entry.clientId);
    entry.item.remove();
    this.renderSuggestions();
    const field = at("message");
    if (!entry.offer) {
      field.value = [entry.text, field.value].filter(Boolean).join("\n");
      measure();
    }
    focusField();
  }

  // ---- the line

  lose() {
    this.isLost = true;
    for (const entry of this.queue) if (entry.state === "sending" && !this.isFlushing) entry.become("waiting");
    renderConnection();
  }

  find() {
    const wasLost = this.isLost;
    this.isLost = false;
    renderConnection();
    if (wasLost && this === current) announce({ text: words(language, "connection.back") });
    if (wasLost && this.queue.length && !this.isFlushing) this.flush();
  }

  // ---- the end

  end(how) {
    if (this.ended) return;
    this.ended = how;
    this.isLost = false;
    this.controller?.abort();
    this.wake();
    clearTimeout(this.flushTimer);
    delete session.conversations[this.company.id];
    session.save();
    if (how === "erased") {
      this.list.replaceChildren();
      this.outgoing.clear();
      this.queue = [];
      this.draft = "";
    }
    for (const entry of this.queue) {
      entry.become("failed", new Problem(401, { detail: words(language, `ended.${how}.heading`), language }));
    }
    this.queue = [];
    this.renderSuggestions();
    this.renderPage();
    if (this !== current) return;
    if (how === "erased") at("message").value = "";
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
    renderEnded(true);
  }
}

/** Where the focus goes when the button that had it is gone: to the field, unless that brings up a touch keyboard. */
function moveFocus(entry) {
  if (isTypedOn.matches) focusField();
  else entry.item.focus({ preventScroll: true });
}

/** Where the field is always in view, its focus is no reason to scroll. */
function focusField() {
  at("message").focus({ preventScroll: getComputedStyle(at("bottom")).position === "sticky" });
}

const authorOf = (author, spoken) => make("h2", { class: "visually-hidden" }, words(spoken, `author.${author}`));

/** What is read aloud of a message: its text, the quote where that is the whole answer, the choices where it asks. */
function spokenParts(message) {
  const parts = [{ text: message.text, language: message.language }];
  if (endsOpen(message)) {
    const [quote] = message.quotes;
    const heard = quote.translation ?? quote;
    parts.push({ text: heard.text, language: heard.language });
  }
  if (message.offers?.length && !["answer", "silent"].includes(message.act)) {
    parts.push({ text: message.offers.map((offer) => offer.label).join(". "), language: message.language });
  }
  return parts;
}

// --------------------------------------------------------------------------------------------------------- scrolling

let isFollowing = true;
const distanceToEnd = () => document.documentElement.scrollHeight - innerHeight - scrollY;

/** Keep the latest in view, without pushing the question that it answers out at the top. */
function follow({ always = false, atOnce = false } = {}) {
  if (!current) return;
  if (always) isFollowing = true;
  if (!isFollowing) return;
  requestAnimationFrame(() => {
    const question = [...(current?.list.querySelectorAll(".visitor") ?? [])].at(-1);
    const bar = document.querySelector(".bar");
    const covered = getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0;
    const highest = question ? question.getBoundingClientRect().top + scrollY - covered - 20 : Infinity;
    const end = document.documentElement.scrollHeight - innerHeight;
    scrollTo({ top: Math.min(end, highest), behavior: atOnce || movesLittle.matches ? "instant" : "smooth" });
  });
}

// What stands at the bottom grows with a long text and with bad news.
new ResizeObserver(() => follow()).observe(at("bottom"));

for (const kind of ["wheel", "touchmove"]) {
  addEventListener(kind, () => (isFollowing = distanceToEnd() < 120), { passive: true });
}
addEventListener("keydown", ({ key }) => {
  if (["PageUp", "Home", "ArrowUp"].includes(key) && document.activeElement !== at("message")) isFollowing = false;
  if (["PageDown", "End"].includes(key)) isFollowing = distanceToEnd() < 120;
});

// --------------------------------------------------------------------------------------------------------- the views

const chats = new Map();
let companies = null;
let current = null;
let startProblem = null;

function nameOf(company) {
  return capitalised(company.name[language], language);
}

/** The company that the address names. */
function addressed() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

/** Which view: the address tells (`#company` is its conversation), the session knows whether there is one. */
function route() {
  if (!companies) return;
  const id = addressed();
  const company = companies.find((each) => each.id === id);
  const record = company && session.conversations[company.id];
  if (record) showChat(company, record);
  else showStart(company);
}

function showStart(company) {
  current?.leave();
  const left = current;
  current = null;
  at("start").hidden = false;
  at("chat").hidden = true;
  renderCompanies(company?.id);
  renderPage();
  if (left) {
    scrollTo(0, 0);
    at("start-heading").focus();
  }
}

function showChat(company, record) {
  let chat = chats.get(company.id);
  if (chat?.record.id !== record.id) {
    chat = new Chat(company, record);
    chats.set(company.id, chat);
  }
  if (chat === current) return;
  current?.leave();
  const isFirstView = current === null && at("start").hidden;
  current = chat;
  at("start").hidden = true;
  at("chat").hidden = false;
  at("message").value = chat.draft;
  renderTrouble(null);
  renderPage();
  renderEnded(false);
  measure();
  chat.open();
  follow({ always: true, atOnce: true });
  if (isFirstView) return;
  if (isTypedOn.matches) focusField();
  else at("company").focus({ preventScroll: true });
}

function renderPage() {
  document.documentElement.lang = language;
  const days = daysKept();
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = words(language, element.dataset.text, { days });
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", words(language, element.dataset.label));
  }
  at("message").placeholder = words(language, at("message").dataset.placeholder);
  for (const id of ["company", "subtitle", "menu", "skip"]) at(id).hidden = !current;
  at("brand").hidden = Boolean(current);
  at("page").classList.toggle("in-chat", Boolean(current));
  at("company").textContent = current ? nameOf(current.company) : "";
  document.title = current
    ? words(language, "chat.title", { company: nameOf(current.company) })
    : words(language, "name");
  for (const label of document.querySelectorAll(".company-name")) {
    label.textContent = nameOf(companies.find((company) => company.id === label.dataset.company));
  }
  for (const chat of chats.values()) chat.renderPage();
  renderStart();
  renderConnection();
  renderEnded(false);
  measure();
}

/** How long the shown company keeps a conversation; before one is chosen, the longest of them all. */
function daysKept() {
  return current?.company.retention_days ?? Math.max(0, ...(companies ?? []).map((company) => company.retention_days));
}

function renderCompanies(chosen) {
  const list = at("companies");
  const kept = chosen ?? list.querySelector(":checked")?.value ?? (companies.length === 1 ? companies[0].id : null);
  list.removeAttribute("aria-busy");
  list.replaceChildren(
    ...companies.map((company) => {
      const radio = make("input", { type: "radio", name: "company", value: company.id, change: () => clearStartProblem() });
      radio.checked = company.id === kept;
      return make(
        "label",
        { class: "company" },
        radio,
        make("span", { class: "company-name", "data-company": company.id }, nameOf(company)),
      );
    }),
  );
}

function chosenCompany() {
  const id = at("companies").querySelector(":checked")?.value;
  return companies?.find((company) => company.id === id);
}

function clearStartProblem() {
  startProblem = null;
  renderStart();
}

/** `problem` is a function, so that it can be said again in another language. */
function showStartProblem(problem) {
  startProblem = problem;
  renderStart();
  announce({ text: problem() });
}

let isBeginning = false;

function renderStart() {
  const chosen = chosenCompany();
  const label = !companies && startProblem
    ? "start.retry"
    : isBeginning
      ? "start.beginning"
      : chosen && session.conversations[chosen.id]
        ? "start.resume"
        : "start.begin";
  at("begin").textContent = words(language, label);
  at("begin").hidden = companies?.length === 0;
  at("companies").hidden = !companies && Boolean(startProblem);
  const problem = at("start-problem");
  problem.hidden = !startProblem;
  problem.textContent = startProblem ? startProblem() : "";
}

async function begin(event) {
  event.preventDefault();
  if (isBeginning) return;
  if (!companies) {
    await loadCompanies();
    return;
  }
  const company = chosenCompany();
  if (!company) {
    showStartProblem(() => words(language, "start.choose"));
    at("companies").querySelector("input")?.focus();
    return;
  }
  if (!session.conversations[company.id]) {
    isBeginning = true;
    clearStartProblem();
    try {
      const body = { company: company.id, ...(session.language ? { language: session.language } : {}) };
      const made = await requestJson("conversations", { method: "POST", body });
      const record = { id: made.id, token: made.token, language: made.language, suggestions: made.suggestions };
      session.conversations[company.id] = record;
      session.save();
      chats.set(company.id, new Chat(company, record, made));
      announce(...made.messages.flatMap(spokenParts));
    } catch (error) {
      const problem = described(error);
      showStartProblem(() => problem.detail);
      return;
    } finally {
      isBeginning = false;
      renderStart();
    }
  }
  if (addressed() === company.id) route();
  else location.hash = encodeURIComponent(company.id);
}

let companiesTimer;

async function loadCompanies() {
  clearTimeout(companiesTimer);
  try {
    companies = await requestJson("companies");
  } catch {
    at("start").hidden = false;
    if (!startProblem) showStartProblem(() => words(language, "start.failed"));
    companiesTimer = setTimeout(loadCompanies, 5000);
    return;
  }
  startProblem = null;
  if (!companies.length) startProblem = () => words(language, "start.none");
  route();
}

function renderConnection() {
  const isLost = Boolean(current?.isLost) && !current.ended;
  const text = isLost ? words(language, navigator.onLine ? "connection.unreachable" : "connection.offline") : "";
  const isNew = at("connection-text").textContent !== text;
  at("connection").hidden = !isLost;
  at("connection-text").textContent = text;
  if (isLost && isNew) announce({ text });
}

function renderTrouble(key) {
  const text = key ? words(language, key) : "";
  at("trouble").hidden = !key;
  at("trouble-text").textContent = text;
  if (key) announce({ text });
}

function renderEnded(isNew) {
  const how = current?.ended;
  at("ended").hidden = !how;
  at("bottom").hidden = Boolean(how);
  at("log").hidden = how === "erased";
  for (const id of ["menu-download", "menu-delete"]) at(id).parentElement.hidden = Boolean(how);
  at("skip").hidden = !current || Boolean(how);
  if (!how) return;
  at("ended-heading").textContent = words(language, `ended.${how}.heading`);
  at("ended-text").textContent = words(language, `ended.${how}.text`);
  if (isNew) {
    at("ended-heading").focus();
    at("ended").scrollIntoView({ block: "center" });
  }
}

// -------------------------------------------------------------------------------------------------------- the composer

const message = at("message");
let counterTimer;

const lengthOf = (text) => Array.from(text).length;

/** The height of the field, and how much room is left when there is little. */
function measure() {
  if (!CSS.supports("field-sizing", "content")) {
    message.style.height = "auto";
    message.style.height = `${message.scrollHeight}px`;
  }
  const used = lengthOf(message.value.trim());
  const counter = at("counter");
  const isOver = used > LONGEST_TEXT;
  counter.hidden = used < COUNTER_FROM;
  counter.classList.toggle("over", isOver);
  counter.textContent = counter.hidden
    ? ""
    : words(language, isOver ? "chat.over" : "chat.left", { count: Math.abs(LONGEST_TEXT - used) });
  if (isOver) message.setAttribute("aria-invalid", "true");
  else message.removeAttribute("aria-invalid");
}

message.addEventListener("input", () => {
  measure();
  clearTimeout(counterTimer);
  if (!at("counter").hidden) counterTimer = setTimeout(() => announce({ text: at("counter").textContent }), 1500);
});

message.addEventListener("keydown", (event) => {
  // On a touch keyboard there is no Shift + Enter: there Enter is a new line, and the button sends.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || !isTypedOn.matches) return;
  event.preventDefault();
  at("composer").requestSubmit();
});

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = message.value.trim();
  if (!current || current.ended) return;
  if (!text || lengthOf(text) > LONGEST_TEXT) {
    if (text) announce({ text: at("counter").textContent });
    focusField();
    return;
  }
  message.value = "";
  clearTimeout(counterTimer);
  measure();
  current.say({ text });
});

// ---------------------------------------------------------------------------------------------- the menu, the dialogs

function openMenu(isOpen) {
  at("menu-list").hidden = !isOpen;
  at("menu-button").setAttribute("aria-expanded", String(isOpen));
}

at("menu-button").addEventListener("click", () => openMenu(at("menu-list").hidden));
at("menu").addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || at("menu-list").hidden) return;
  openMenu(false);
  at("menu-button").focus();
});
at("menu").addEventListener("focusout", ({ relatedTarget }) => {
  if (relatedTarget && !at("menu").contains(relatedTarget)) openMenu(false);
});
addEventListener("pointerdown", ({ target }) => {
  if (!at("menu").contains(target)) openMenu(false);
});

at("menu-switch").addEventListener("click", () => {
  openMenu(false);
  location.hash = "";
});

at("menu-about").addEventListener("click", () => {
  openMenu(false);
  at("menu-button").focus(); // where a closed dialog gives the focus back to
  at("about-dialog").showModal();
});
at("about-close").addEventListener("click", () => at("about-dialog").close());

at("menu-download").addEventListener("click", async () => {
  openMenu(false);
  at("menu-button").focus();
  renderTrouble(null);
  const chat = current;
  try {
    const response = await chat.call("/transcript?format=text");
    const address = URL.createObjectURL(await response.blob());
    const file = words(language, "download.file", { company: chat.company.id });
    make("a", { href: address, download: file }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    if (error instanceof Problem && error.status === 401) chat.end("gone");
    else renderTrouble("download.failed");
  }
});

at("menu-delete").addEventListener("click", () => {
  openMenu(false);
  at("menu-button").focus();
  at("delete-problem").hidden = true;
  at("delete-dialog").showModal();
});
at("delete-cancel").addEventListener("click", () => at("delete-dialog").close());

at("delete-confirm").addEventListener("click", async () => {
  const button = at("delete-confirm");
  if (button.getAttribute("aria-disabled")) return;
  const chat = current;
  button.setAttribute("aria-disabled", "true");
  button.textContent = words(language, "delete.working");
  at("delete-problem").hidden = true;
  try {
    await chat.call("", { method: "DELETE" });
    chat.end("erased");
  } catch (error) {
    if (error instanceof Problem && error.status === 401) chat.end("erased");
    else {
      at("delete-problem").hidden = false;
      at("delete-problem").textContent = words(language, "delete.failed");
    }
  } finally {
    button.removeAttribute("aria-disabled");
    button.textContent = words(language, "delete.confirm");
  }
});

at("again").addEventListener("click", () => {
  const company = current.company;
  chats.delete(company.id);
  route();
});

at("trouble-close").addEventListener("click", () => {
  renderTrouble(null);
  focusField();
});
at("reconnect").addEventListener("click", () => {
  current?.reconnect();
  focusField();
});
at("skip").addEventListener("click", focusField);

// ------------------------------------------------------------------------------------------------------------ the page

at("choose").addEventListener("submit", begin);

function describeField() {
  at("keys").hidden = !isTypedOn.matches;
  message.setAttribute("aria-describedby", isTypedOn.matches ? "careful keys counter" : "careful counter");
}

isTypedOn.addEventListener("change", describeField);
describeField();

const choice = at("language");
choice.append(
  ...LANGUAGES.map((code) => make("option", { value: code, lang: code }, words(code, `languages.${code}`))),
);
choice.value = language;
choice.addEventListener("change", () => {
  language = choice.value;
  session.language = language;
  session.save();
  renderPage();
});

addEventListener("hashchange", route);
addEventListener("online", () => {
  current?.reconnect();
  if (!companies) loadCompanies();
});
addEventListener("offline", () => current?.lose());
addEventListener("pageshow", ({ persisted }) => persisted && current?.reconnect());
document.addEventListener("visibilitychange", () => {
  const isStale = current && Date.now() - current.heardAt > SILENCE_MS / 2;
  if (document.visibilityState === "visible" && isStale) current.reconnect();
});
addEventListener("beforeunload", (event) => {
  // What was not sent is nowhere but on this page.
  if ([...chats.values()].some((chat) => chat.queue.length)) event.preventDefault();
});

at("not-started").remove();
at("page").hidden = false;
at("start").hidden = Boolean(session.conversations[addressed()]);
renderPage();
await loadCompanies();
