"use strict";

// The page: two people, each with a client (client.js), and what they see.

const REALTIME = new URL(location.href);
REALTIME.protocol = location.protocol === "https:" ? "wss:" : "ws:";
REALTIME.pathname = "/message";
REALTIME.search = "";

class Person {
  constructor(name) {
    this.name = name;
    this.view = document.querySelector("#person").content.cloneNode(true).querySelector("section");
    this.view.querySelector(".name").textContent = name;
    this.list = this.view.querySelector(".messages");
    this.view.querySelector("form").addEventListener("submit", (event) => this.submitted(event));
    this.view.querySelector(".cut").addEventListener("click", () => this.client?.socket?.close());
    document.querySelector("#people").append(this.view);
  }

  async logIn() {
    this.tokens = await call(null, "POST", "/v1/auth/wechat", { code: `sandbox-${this.name}-${newId()}` });
    this.id = this.tokens.user.id;
  }

  connect(room, people) {
    this.people = people;
    this.client = new Client(REALTIME, this.tokens, room, this);
    this.client.open();
  }

  submitted(event) {
    event.preventDefault();
    const input = event.target.elements.text;
    if (!this.client || !input.value.trim()) return;
    const frame = { type: "text", id: newId(), to: this.client.to, content: input.value };
    this.draw(frame.id, frame.content, "on its way", "mine waiting");
    this.client.say(frame);
    input.value = "";
  }

  // --- what the client tells ----------------------------------------------------------------------------------------

  message({ id, senderId, content, timestamp, seq }) {
    const time = new Date(timestamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const mine = senderId === null || senderId === this.id;
    const text = mine ? content : `${this.people[senderId] ?? "somebody"}: ${content}`;
    this.draw(id, text, `${time} · #${seq}`, mine ? "mine" : "");
  }

  refused(frame, problem) {
    this.draw(frame.id, frame.content, `not sent: ${problem.detail}`, "mine waiting");
  }

  note(text) {
    this.list.append(Object.assign(document.createElement("li"), { className: "note", textContent: text }));
  }

  state(text, on) {
    const state = this.view.querySelector(".state");
    state.textContent = text;
    state.classList.toggle("on", on);
  }

  // The same message may come as an acknowledgement, live and by sync: it has one place.
  draw(id, text, below, kind) {
    const line = this.list.querySelector(`[data-id="${CSS.escape(id)}"]`) ?? document.createElement("li");
    line.dataset.id = id;
    line.className = kind;
    line.replaceChildren(text);
    line.append(Object.assign(document.createElement("small"), { textContent: below }));
    this.list.append(line);
    this.list.scrollTop = this.list.scrollHeight;
  }
}

async function begin() {
  const [mei, lin] = [new Person("mei"), new Person("lin")];
  await Promise.all([mei.logIn(), lin.logIn()]);
  const token = mei.tokens.accessToken;
  REALTIME.port = (await call(token, "GET", "/chat/port")).port;
  const { items } = await call(token, "GET", "/v1/rooms?limit=1");
  const room = items[0]?.id ?? (await call(token, "POST", "/v1/rooms", { name: "Tea time", members: [lin.id] })).id;
  const people = { [mei.id]: "mei", [lin.id]: "lin" };
  mei.connect(room, people);
  lin.connect(room, people);
}

begin().catch((error) => {
  document.querySelector("body > header p").textContent = `This cannot begin: ${error.message}`;
});
