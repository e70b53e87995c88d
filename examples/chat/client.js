"use strict";

// A client as a mini-program would have it: what was said is kept until it is acknowledged, what was missed is asked for,
// and a socket that ends is opened again after a pause with chance in it. docs/clients.md says why.

const REQUEST_MS = 10000;
const ACK_MS = 10000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15000;
// Messages on their way at once, as long as the server takes them.
const MOST_IN_FLIGHT = 32;

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
const withChance = (pause) => pause * (0.5 + Math.random());
// Everything else is wrong, and stays so however often it is asked.
const mayBeAskedAgain = (status) => status === 429 || status >= 500;

// Throws an error with the `status`, which is missing where there was no answer, and `retryAfter` in seconds.
async function call(token, method, path, body) {
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  const signal = AbortSignal.timeout(REQUEST_MS);
  const answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  const said = await answer.json().catch(() => null);
  if (answer.ok) return said;
  const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  throw Object.assign(new Error(said?.detail ?? `status ${answer.status}`), { status: answer.status, retryAfter });
}

// One person in one room. `tells` has `state(text, online)`, `message(message)`, `refused(frame, problem)`, `note(text)`.
class Client {
  constructor(address, tokens, room, tells) {
    this.address = address;
    this.room = room;
    this.to = `room:${room}`;
    this.tells = tells;
    // Everything up to here is known; what came above a gap waits in `ahead`, for only a sync closes a gap.
    this.seq = 0;
    this.ahead = new Set();
    // Frames without an answer, by id, in the order in which they were said; those that are with the server now.
    this.waiting = new Map();
    this.inFlight = new Set();
    this.window = MOST_IN_FLIGHT;
    this.held = null;
    this.patience = null;
    this.silences = 0;
    this.online = false;
    this.pause = FIRST_PAUSE_MS;
    this.keep(tokens);
  }

  // --- the line -----------------------------------------------------------------------------------------------------

  keep(tokens) {
    this.token = tokens.accessToken;
    this.refreshToken = tokens.refreshToken;
    // A little earlier than the server, which began to count before the answer was here.
    this.tokenEnds = Date.now() + tokens.expiresIn * 900;
    this.doubtful = false;
  }

  async open() {
    try {
      if (this.doubtful || Date.now() >= this.tokenEnds) await this.refresh();
    } catch (error) {
      // Only a 401 says that the session is over; without an answer nobody knows.
      if (error.status === 401) return this.tells.state(`logged out: ${error.message}`, false);
      return this.openLater(`no new token: ${error.message}`, error.retryAfter);
    }
    this.tells.state("connecting", false);
    const socket = (this.socket = new WebSocket(this.address, ["teahouse.v1", `bearer.${this.token}`]));
    let opened = false;
    socket.onopen = () => (opened = true);
    socket.onmessage = (event) => this.heard(JSON.parse(event.data));
    socket.onclose = (event) => this.closed(event.code, opened);
  }

  async refresh() {
    this.tells.state("a new token", false);
    this.keep(await call(null, "POST", "/v1/auth/refresh", { refreshToken: this.refreshToken }));
  }

  closed(code, opened) {
    this.online = false;
    this.inFlight.clear();
    clearTimeout(this.held);
    clearTimeout(this.patience);
    this.held = this.patience = null;
    // A browser does not tell a refused upgrade (401) from a server that is away: both are 1006 without having opened.
    this.doubtful = !opened || code === 4401;
    this.openLater(`offline (${code})`);
  }

  openLater(why, retryAfter = 0) {
    const pause = Math.max(withChance(this.pause), retryAfter * 1000 * (1 + Math.random() / 2));
    this.tells.state(`${why}, again in ${(pause / 1000).toFixed(1)} s`, false);
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
    setTimeout(() => this.open(), pause);
  }

  // Closed from here. Where the line is dead the browser would wait for the server's goodbye.
  drop() {
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.closed(1006, true);
  }

  // --- what is said -------------------------------------------------------------------------------------------------

  say(frame) {
    this.waiting.set(frame.id, frame);
    this.sendAll();
  }

  // What waits, in order, as much of it at once as the server has taken so far.
  sendAll() {
    if (!this.online || this.held) return;
    for (const [id, frame] of this.waiting) {
      if (this.inFlight.size >= this.window) break;
      if (this.inFlight.has(id)) continue;
      this.inFlight.add(id);
      this.socket.send(JSON.stringify(frame));
    }
    if (this.inFlight.size && !this.patience) this.patience = setTimeout(() => this.unanswered(), ACK_MS);
  }

  // There was an answer about this frame: the time-out begins anew for the others.
  answered(id) {
    clearTimeout(this.patience);
    this.patience = null;
    this.silences = 0;
    this.inFlight.delete(id);
  }

  done(id) {
    this.answered(id);
    this.waiting.delete(id);
    this.pause = FIRST_PAUSE_MS;
    this.window = Math.min(this.window + 1, MOST_IN_FLIGHT);
    this.sendAll();
  }

  // Once more over this line, and then over a new one. The same id again is stored once.
  unanswered() {
    this.patience = null;
    if (this.silences++) return this.drop();
    this.inFlight.clear();
    this.sendAll();
  }

  refused({ id, problem, retryAfter }) {
    if (!this.waiting.has(id)) return this.tells.note(problem.detail);
    if (!mayBeAskedAgain(problem.status)) {
      if (id === "sync") this.tells.note(problem.detail);
      else this.tells.refused(this.waiting.get(id), problem);
      return this.done(id);
    }
    this.answered(id);
    // One at a time from here, and one more with each that is taken.
    this.window = 1;
    if (this.held) return;
    const pause = Math.max(this.pause, (retryAfter ?? 1) * 1000);
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
    this.held = setTimeout(() => this.goOn(), pause * (1 + Math.random() / 2));
  }

  goOn() {
    this.held = null;
    this.sendAll();
  }

  // --- what is heard ------------------------------------------------------------------------------------------------

  heard(frame) {
    if (frame.type === "welcome") this.welcomed();
    else if (frame.type === "ack") this.acknowledged(frame);
    else if (frame.type === "error") this.refused(frame);
    else if (frame.to === this.to && frame.seq && frame.senderId) this.show(frame);
    else if (frame.type === "synced") this.synced(frame);
    else if (frame.type === "system") this.tells.note(frame.event);
  }

  welcomed() {
    this.online = true;
    this.silences = 0;
    this.tells.state("online", true);
    // What was missed first, then what is not acknowledged.
    const sync = { type: "sync", id: "sync", after: { [this.to]: this.seq } };
    this.waiting = new Map([["sync", sync], ...[...this.waiting].filter(([id]) => id !== "sync")]);
    this.sendAll();
  }

  acknowledged(ack) {
    const mine = this.waiting.get(ack.id);
    if (!mine) return;
    this.done(ack.id);
    this.show({ ...mine, ...ack, type: mine.type, senderId: null });
  }

  synced({ recovered }) {
    this.done("sync");
    if (!recovered) this.readHistory().catch(() => this.drop());
  }

  // More was missed than a socket tells, or the server knows of less than this page: its last messages count.
  async readHistory() {
    this.tells.note("much was missed: these are the last messages");
    const { items } = await call(this.token, "GET", `/v1/rooms/${this.room}/messages?limit=100`);
    this.seq = Math.max(0, ...items.map((each) => each.seq));
    for (const each of items.sort((one, other) => one.seq - other.seq)) this.tells.message(each);
    const later = [...this.ahead].filter((seq) => seq > this.seq);
    this.ahead.clear();
    later.forEach((seq) => this.reached(seq));
  }

  reached(seq) {
    if (seq > this.seq) this.ahead.add(seq);
    while (this.ahead.delete(this.seq + 1)) this.seq += 1;
  }

  show(message) {
    this.reached(message.seq);
    this.tells.message(message);
  }
}
