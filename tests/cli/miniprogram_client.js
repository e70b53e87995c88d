// Plays a phone: a `wx` whose server is a function, and whose storage outlives the client. Run by test_miniprogram.py.
const test = require("node:test");
const assert = require("node:assert/strict");

const { Teahouse, TeahouseError } = require(`${process.env.MINIPROGRAM}/teahouse.js`);

/** `server(request)` gives {statusCode, data, header}, or null where no answer comes. */
function phone(server) {
  const storage = new Map();
  const requests = [];
  global.wx = {
    getStorageSync: (key) => storage.get(key) || "",
    setStorageSync: (key, value) => storage.set(key, value),
    removeStorageSync: (key) => storage.delete(key),
    login: ({ success }) => success({ code: "code-from-wechat" }),
    request: (request) => {
      requests.push(request);
      const answer = server(request, requests.length);
      queueMicrotask(() => (answer ? request.success(answer) : request.fail({ errMsg: "request:fail" })));
    },
  };
  global.setTimeout = (work) => queueMicrotask(work);
  return { storage, requests, client: (options) => new Teahouse({ baseUrl: "http://t/", ...options }) };
}

const ok = (data) => ({ statusCode: 200, data, header: {} });
const problem = (statusCode, slug, header = {}) => ({ statusCode, data: { type: `/problems/${slug}`, detail: slug }, header });
let issued = 0;
const tokens = () => {
  issued += 1;
  return ok({ accessToken: `a${issued}`, refreshToken: `r${issued}`, expiresIn: 900, user: {} });
};
const isLogin = ({ url }) => url.endsWith("/v1/auth/wechat");
const isRefresh = ({ url }) => url.endsWith("/v1/auth/refresh");

test("many callers at once share one login", async () => {
  const { requests, client } = phone((request) => (isLogin(request) ? tokens() : ok({ items: [] })));
  const teahouse = client();
  await Promise.all([teahouse.sales(), teahouse.sales(), teahouse.sales()]);
  assert.equal(requests.filter(isLogin).length, 1);
  assert.equal(requests[0].data.code, "code-from-wechat");
});

test("a sandbox name logs in with a fresh code each time", async () => {
  const { requests, client } = phone(tokens);
  const teahouse = client({ sandboxName: "bo" });
  await teahouse.login();
  await teahouse.login();
  const [first, second] = requests.map((request) => request.data.code);
  assert.match(first, /^sandbox-bo-[a-z0-9]+$/);
  assert.notEqual(first, second);
});

test("a refused access token is renewed once for all who were refused, and the requests go through", async () => {
  let good = "";
  const { requests, client } = phone((request) => {
    if (isLogin(request)) return tokens();
    if (isRefresh(request)) {
      const answer = tokens();
      good = `Bearer ${answer.data.accessToken}`;
      return answer;
    }
    return request.header.Authorization === good ? ok({ items: [] }) : problem(401, "unauthorized");
  });
  const teahouse = client();
  await Promise.all([teahouse.sales(), teahouse.sales()]);
  assert.equal(requests.filter(isRefresh).length, 1);
});

test("a session that has ended leads to a new login", async () => {
  let logins = 0;
  const { client } = phone((request) => {
    if (isRefresh(request)) return problem(401, "session-ended");
    if (isLogin(request)) {
      logins += 1;
      return tokens();
    }
    return logins === 2 ? ok({ items: [] }) : problem(401, "unauthorized");
  });
  await client().sales();
  assert.equal(logins, 2);
});

test("a purchase without an answer is asked again with the same key", async () => {
  let asked = 0;
  const { requests, storage, client } = phone((request) => {
    if (isLogin(request)) return tokens();
    asked += 1;
    if (asked === 1) return null;
    if (asked === 2) return problem(503, "overloaded", { "Retry-After": "1" });
    return ok({ orderId: "o1" });
  });
  const order = await client().purchase("s1", 1);
  assert.equal(order.orderId, "o1");
  const keys = requests.filter((request) => request.url.endsWith("/purchases")).map((request) => request.header["Idempotency-Key"]);
  assert.equal(keys.length, 3);
  assert.equal(new Set(keys).size, 1);
  assert.equal(storage.has("teahouse.purchase.s1"), false);
});

test("a purchase that was cut off is finished with the same key after a restart", async () => {
  let up = false;
  const { requests, client } = phone((request) => {
    if (isLogin(request)) return tokens();
    return up ? ok({ orderId: "o1" }) : null;
  });
  await assert.rejects(client().purchase("s1", 1), TeahouseError);
  up = true;
  await client().purchase("s1", 1);
  await client().purchase("s1", 1);
  const keys = requests.filter((request) => request.url.endsWith("/purchases")).map((request) => request.header["Idempotency-Key"]);
  assert.equal(new Set(keys).size, 2);
  assert.notEqual(keys.at(-1), keys.at(-2));
});

test("a refusal is final and names its problem", async () => {
  const { requests, client } = phone((request) => (isLogin(request) ? tokens() : problem(409, "sold-out")));
  await assert.rejects(client().purchase("s1", 1), (error) => error.slug === "sold-out" && error.status === 409);
  assert.equal(requests.length, 2);
});

test("retrying ends", async () => {
  const { requests, client } = phone((request) => (isLogin(request) ? tokens() : null));
  await assert.rejects(client().sales(), (error) => error.status === 0);
  assert.equal(requests.length, 1 + 5);
});
