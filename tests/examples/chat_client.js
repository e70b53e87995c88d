// The example's client without a browser: a clock, sockets and answers that the test holds in its hands. Run by test_chat_client.py.
const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const { test } = require("node:test");
const vm = require("node:vm");

const SOURCE = readFileSync(process.env.CLIENT, "utf8");

function begin() {
  const world = { now: 1000, timers: new Map(), count: 0, sockets: [], states: [], messages: [], asked: [], answers: [] };
  class WebSocket {
    constructor() {
      this.sent = [];
      world.sockets.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close() {
      this.closed = true;
    }
  }
  const globals = {
    WebSocket,
    AbortSignal,
    crypto,
    Date: { now: () => world.now },
    setTimeout: (call, wait) => world.timers.set(++world.count, { call, at: world.now + wait }) && world.count,
    clearTimeout: (number) => world.timers.delete(number),
    fetch: async (path) => {
      world.asked.push(path);
      const [status, body] = world.answers.shift();
      if (!status) throw new TypeError("no network");
      return { ok: status < 300, status, json: async () => body, headers: new Map() };
    },
  };
  const Client = vm.runInNewContext(`${SOURCE}; Client`, globals);
  const tells = {
    state: (text) => world.states.push(text),
    message: (message) => world.messages.push(message),
    refused: () => {},
    note: () => {},
  };
  world.tokens = { accessToken: "a", refreshToken: "r", expiresIn: 900 };
  world.client = new Client("ws://tea", world.tokens, "1", tells);
  world.pass = async (ms) => {
    for (const until = world.now + ms; ; ) {
      const due = [...world.timers].filter(([, { at }]) => at <= until).sort((one, other) => one[1].at - other[1].at)[0];
      if (!due) return (world.now = until);
      world.timers.delete(due[0]);
      world.now = due[1].at;
      due[1].call();
      await new Promise(setImmediate);
    }
  };
  world.last = () => world.sockets.at(-1);
  world.hear = (frame) => world.last().onmessage({ data: JSON.stringify(frame) });
  world.enter = () => {
    world.last().onopen();
    world.hear({ type: "welcome" });
    world.hear({ type: "synced", to: "room:1", recovered: true });
  };
  return world;
}

test("what nothing came of is sent once more, and then over a new socket", async () => {
  const world = begin();
  await world.client.open();
  world.enter();
  world.client.say({ type: "text", id: "m", to: "room:1", content: "tea?" });
  const said = () => world.sockets.map((socket) => socket.sent.filter((frame) => frame.id === "m").length);
  await world.pass(10001);
  assert.deepEqual(said(), [2]);
  await world.pass(11000);
  assert.equal(world.sockets[0].closed, true);
  world.enter();
  assert.deepEqual(said(), [2, 1]);
  world.hear({ type: "ack", id: "m", to: "room:1", seq: 1, timestamp: 1 });
  await world.pass(60000);
  assert.deepEqual(said(), [2, 1]);
  assert.equal(world.client.seq, 1);
});

test("what could not be stored is sent again when the server says so", async () => {
  const world = begin();
  await world.client.open();
  world.enter();
  world.client.say({ type: "text", id: "m", to: "room:1", content: "tea?" });
  world.hear({ type: "error", id: "m", problem: { status: 503, detail: "later" }, retryAfter: 3 });
  await world.pass(2999);
  assert.equal(world.last().sent.at(-1).id, "m");
  assert.equal(world.last().sent.length, 2);
  await world.pass(1502);
  assert.equal(world.last().sent.length, 3);
});

for (const answer of [[0], [503, { detail: "not now" }], [502, null], [429, { detail: "slowly" }]])
  test(`a refresh that ends with ${answer[0]} is asked again, and leads to a socket`, async () => {
    const world = begin();
    await world.client.open();
    world.answers.push(answer, answer, [200, world.tokens]);
    world.last().onclose({ code: 1006 });
    await world.pass(10000);
    assert.deepEqual(world.asked, Array(3).fill("/v1/auth/refresh"));
    assert.equal(world.sockets.length, 2);
  });

test("a refresh that ends with 401 is the end", async () => {
  const world = begin();
  await world.client.open();
  world.answers.push([401, { detail: "session ended" }]);
  world.enter();
  world.last().onclose({ code: 4401 });
  await world.pass(100000);
  assert.equal(world.states.at(-1), "logged out: session ended");
  assert.equal(world.sockets.length, 1);
});

test("a token whose time has passed is exchanged before the next socket, one that lives is not", async () => {
  const world = begin();
  await world.client.open();
  world.enter();
  world.last().onclose({ code: 1012 });
  await world.pass(1000);
  assert.equal(world.sockets.length, 2);
  world.enter();
  await world.pass(900000);
  world.answers.push([200, world.tokens]);
  world.last().onclose({ code: 1012 });
  await world.pass(1000);
  assert.deepEqual(world.asked, ["/v1/auth/refresh"]);
  assert.equal(world.sockets.length, 3);
});

test("where too much was missed the history stands for it", async () => {
  const world = begin();
  await world.client.open();
  world.last().onopen();
  world.hear({ type: "welcome" });
  world.answers.push([200, { items: [7, 6].map((seq) => ({ id: `h${seq}`, seq, senderId: "b", content: "" })) }]);
  world.hear({ type: "text", id: "x", to: "room:1", seq: 8, senderId: "b", content: "" });
  world.hear({ type: "synced", to: "room:1", recovered: false });
  await world.pass(1);
  await new Promise(setImmediate);
  assert.deepEqual(world.messages.map((each) => each.seq), [8, 6, 7]);
  assert.equal(world.client.seq, 8);
});
