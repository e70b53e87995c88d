// A mini-program on a phone with a real network: logs in, looks at the sales, buys twice. Run by test_new_app.py.
const storage = new Map();
global.wx = {
  getStorageSync: (key) => storage.get(key) || "",
  setStorageSync: (key, value) => storage.set(key, value),
  removeStorageSync: (key) => storage.delete(key),
  request: ({ url, method, data, header, success, fail }) => {
    const body = data === undefined ? undefined : JSON.stringify(data);
    fetch(url, { method, headers: header, body })
      .then(async (answer) => {
        const text = await answer.text();
        const headers = Object.fromEntries(answer.headers);
        success({ statusCode: answer.status, data: text && JSON.parse(text), header: headers });
      })
      .catch((error) => fail({ errMsg: String(error) }));
  },
};

const [folder, baseUrl] = process.argv.slice(2);
const { Teahouse } = require(`${folder}/teahouse.js`);

async function main() {
  const teahouse = new Teahouse({ baseUrl, sandboxName: "developer" });
  const { items } = await teahouse.sales();
  const order = await teahouse.purchase(items[0].id, 1);
  const found = await teahouse.order(order.orderId);
  const refusal = await teahouse.purchase(items[0].id, 1).catch((error) => error.slug);
  const cancelled = await teahouse.cancel(order.orderId);
  await teahouse.logout();
  console.log(JSON.stringify({ order, found, refusal, cancelled, user: teahouse.tokens }));
}

main();
