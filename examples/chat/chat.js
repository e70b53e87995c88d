"use strict";

// A client as a mini-program would have it: what was said is kept until it is acknowledged, what was missed is asked for,
// and a socket that ends is opened again after a pause with chance in it.

const REALTIME = new URL(location.href);
REALTIME.protocol = location.protocol === "https:" ? "wss:" : "ws:";
REALTIME.pathname = "/message";
REALTIME.search = "";

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

async function call(token, method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) },
    body: body && JSON.stringify(body),
  });
  const said = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(said.detail);
  return said;
}

class Person {
  constructor(name) {
    this.name = name;
    // Everything up to here is known; what came above a gap waits in `ahead`, for only a sync closes a gap.
    this.seq = 0;
    this.ahead = new Set();
    this.unacknowledged = new Map();
    this.pause = 250;
    this.view = document.querySelector("#person").content.cloneNode(true).querySelector("section");
    this.view.querySelector(".name").textContent = name;
    this.list = this.view.querySelector(".messages");
    this.view.querySelector("form").addEventListener("submit", (event) => this.submitted(event));
    this.view.querySelector(".cut").addEventListener("click", () => this.socket?.close());
    document.querySelector("#people").append(this.view);
  }

  async logIn() {
    const tokens = await call(null, "POST", "/v1/auth/wechat", { code: `sandbox-${this.name}-${newId()}` });
    this.id = tokens.user.id;
    this.keep(tokens);
  }

  keep(tokens) {
    this.token = tokens.accessToken;
    this.refreshToken = tokens.refreshToken;
  }

  async refresh() {
    this.state("a new token");
    try {
      this.keep(await call(null, "POST", "/v1/auth/refresh", { refreshToken: this.refreshToken }));
    } catch (error) {
      return this.state(`logged out: ${error.message}`);
    }
    this.open();
  }

  connect(room, people) {
    this.room = `room:${room}`;
    this.people = people;
    this.open();
  }

  open() {
    this.state("connecting");
    this.socket = new WebSocket(REALTIME, ["teahouse.v1", `bearer.${this.token}`]);
    this.socket.onmessage = (event) => this.heard(JSON.parse(event.data));
    this.socket.onclose = (event) => this.closed(event.code);
  }

  heard(frame) {
    if (frame.type === "welcome") this.welcomed();
    else if (frame.type === "ack") this.acknowledged(frame);
    else if (frame.type === "error") this.refused(frame);
    else if (frame.to === this.room && frame.seq) this.show(frame);
    else if (frame.type === "synced" && !frame.recovered) this.skip();
    else if (frame.type === "system") this.note(frame.event);
  }

  welcomed() {
    this.pause = 250;
    this.state("online", true);
    this.socket.send(JSON.stringify({ type: "sync", after: { [this.room]: this.seq } }));
    for (const frame of this.unacknowledged.values()) this.socket.send(JSON.stringify(frame));
  }

  closed(code) {
    if (code === 4401) return this.refresh();
    const pause = this.pause * (0.5 + Math.random());
    this.state(`offline (${code}), again in ${(pause / 1000).toFixed(1)} s`);
    this.pause = Math.min(this.pause * 2, 15000);
    setTimeout(() => this.open(), pause);
  }

  submitted(event) {
    event.preventDefault();
    const input = event.target.elements.text;
    if (!input.value.trim()) return;
    const frame = { type: "text", id: newId(), to: this.room, content: input.value };
    this.unacknowledged.set(frame.id, frame);
    this.draw(frame.id, this.name, frame.content, "", "mine waiting");
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
    input.value = "";
  }

  acknowledged(frame) {
    const mine = this.unacknowledged.get(frame.id);
    if (!mine) return;
    this.unacknowledged.delete(frame.id);
    this.show({ ...mine, ...frame, senderId: this.id, content: mine.content });
  }

  refused(frame) {
    this.note(frame.problem.detail);
    // What is wrong stays wrong; what could not be done now is sent again.
    if (frame.problem.status < 500 && frame.problem.status !== 429) this.unacknowledged.delete(frame.id);
  }

  reached(seq) {
    if (seq > this.seq) this.ahead.add(seq);
    while (this.ahead.delete(this.seq + 1)) this.seq += 1;
  }

  skip() {
    this.note("too much was missed to show it all");
    this.seq = Math.max(this.seq, ...this.ahead);
    this.ahead.clear();
  }

  show(message) {
    this.reached(message.seq);
    const time = new Date(message.timestamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const sender = message.senderId === this.id ? "mine" : "";
    this.draw(message.id, this.people[message.senderId] ?? "somebody", message.content, `${time} · #${message.seq}`, sender);
  }

  // The same message may come as an acknowledgement, live and by sync: it has one place.
  draw(id, who, text, below, kind) {
    const line = this.list.querySelector(`[data-id="${CSS.escape(id)}"]`) ?? document.createElement("li");
    line.dataset.id = id;
    line.className = kind;
    line.replaceChildren(kind.startsWith("mine") ? text : `${who}: ${text}`);
    line.append(Object.assign(document.createElement("small"), { textContent: below || "on its way" }));
    this.list.append(line);
    this.list.scrollTop = this.list.scrollHeight;
  }

  note(text) {
    this.list.append(Object.assign(document.createElement("li"), { className: "note", textContent: text }));
  }

  state(text, on = false) {
    const state = this.view.querySelector(".state");
    state.textContent = text;
    state.classList.toggle("on", on);
  }
}

async function begin() {
  const [mei, lin] = [new Person("mei"), new Person("lin")];
  await Promise.all([mei.logIn(), lin.logIn()]);
  REALTIME.port = (await call(mei.token, "GET", "/chat/port")).port;
  const { items } = await call(mei.token, "GET", "/v1/rooms?limit=1");
  const room = items[0]?.id ?? (await call(mei.token, "POST", "/v1/rooms", { name: "Tea time", members: [lin.id] })).id;
  const people = { [mei.id]: "mei", [lin.id]: "lin" };
  mei.connect(room, people);
  lin.connect(room, people);
}

begin().catch((error) => {
  document.querySelector("body > header p").textContent = `This cannot begin: ${error.message}`;
});
