/**
 * A Teahouse server's client: login with WeChat, tokens that renew themselves, and purchases that may be repeated
 * without buying twice.
 *
 *   const teahouse = new Teahouse({ baseUrl: "https://shop.example.com" });
 *   const order = await teahouse.purchase(saleId, 1);
 */

const TOKENS = "teahouse.tokens";
const PURCHASE = "teahouse.purchase.";
const ATTEMPTS = 5;
const RENEW_BEFORE_MS = 30 * 1000;

/** An answer that is not a success; `slug` names the problem ("sold-out"), `message` is for people. */
class TeahouseError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.name = "TeahouseError";
    this.status = status;
    this.slug = (problem.type || "").split("/").pop();
    this.problem = problem;
  }
}

class Teahouse {
  constructor({ baseUrl, sandboxName = "", timeout = 10000 }) {
    this.baseUrl = baseUrl.replace(/\/+$/, "");
    this.sandboxName = sandboxName;
    this.timeout = timeout;
    this.tokens = wx.getStorageSync(TOKENS) || null;
    this.renewing = null;
  }

  /** Logs in with WeChat; callers at the same time share one login. */
  login() {
    return this._once(() => this._loggedIn());
  }

  /** Ends the session on this device, or on every device. */
  async logout(everywhere = false) {
    const path = everywhere ? "/v1/auth/logout?everywhere=true" : "/v1/auth/logout";
    try {
      await this.request("POST", path);
    } finally {
      this._keep(null);
    }
  }

  get(path) {
    return this._retrying(() => this.request("GET", path));
  }

  sales() {
    return this.get("/v1/sales");
  }

  order(id) {
    return this.get(`/v1/orders/${id}`);
  }

  cancel(orderId) {
    return this._retrying(() => this.request("POST", `/v1/orders/${orderId}/cancel`));
  }

  /**
   * Buys. Without an answer nobody knows whether it was bought, so the same key is asked again, even after the
   * mini-program was closed in between: the server gives the same order for it.
   */
  async purchase(saleId, quantity) {
    const place = PURCHASE + saleId;
    let pending = wx.getStorageSync(place);
    if (!pending || pending.quantity !== quantity) {
      pending = { key: newKey(), quantity };
      wx.setStorageSync(place, pending);
    }
    const headers = { "Idempotency-Key": pending.key };
    try {
      const path = `/v1/sales/${saleId}/purchases`;
      const order = await this._retrying(() => this.request("POST", path, { quantity }, headers));
      wx.removeStorageSync(place);
      return order;
    } catch (error) {
      if (!mayBeRepeated(error)) wx.removeStorageSync(place);
      throw error;
    }
  }

  /** One request with a valid access token; gives the parsed body, or throws a TeahouseError. */
  async request(method, path, data, headers = {}) {
    const token = await this._accessToken();
    try {
      return await this._fetch(method, path, data, { ...headers, Authorization: `Bearer ${token}` });
    } catch (error) {
      if (error.status !== 401) throw error;
      const renewed = await this._renew(token);
      return this._fetch(method, path, data, { ...headers, Authorization: `Bearer ${renewed}` });
    }
  }

  async _accessToken() {
    if (!this.tokens) await this.login();
    else if (Date.now() > this.tokens.expiresAt - RENEW_BEFORE_MS) await this._renew(this.tokens.accessToken);
    return this.tokens.accessToken;
  }

  async _renew(refused) {
    // Another request may have renewed it already, or be about to.
    if (!this.tokens || this.tokens.accessToken === refused) await this._once(() => this._refreshed());
    return this.tokens.accessToken;
  }

  async _refreshed() {
    const { refreshToken } = this.tokens || {};
    if (!refreshToken) return this._loggedIn();
    try {
      return this._keep(await this._retrying(() => this._fetch("POST", "/v1/auth/refresh", { refreshToken }, {})));
    } catch (error) {
      if (error.status !== 401) throw error;
      return this._loggedIn();
    }
  }

  async _loggedIn() {
    const code = this.sandboxName ? `sandbox-${this.sandboxName}-${newKey()}` : await wechatCode();
    return this._keep(await this._fetch("POST", "/v1/auth/wechat", { code }, {}));
  }

  _once(work) {
    if (!this.renewing) {
      const done = () => {
        this.renewing = null;
      };
      this.renewing = work();
      this.renewing.then(done, done);
    }
    return this.renewing;
  }

  _keep(answer) {
    this.tokens = answer && {
      accessToken: answer.accessToken,
      refreshToken: answer.refreshToken,
      expiresAt: Date.now() + answer.expiresIn * 1000,
      user: answer.user,
    };
    if (this.tokens) wx.setStorageSync(TOKENS, this.tokens);
    else wx.removeStorageSync(TOKENS);
    return this.tokens;
  }

  async _retrying(work) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work();
      } catch (error) {
        if (attempt === ATTEMPTS || !mayBeRepeated(error)) throw error;
        await pause(error.retryAfterMs || 200 * 2 ** attempt);
      }
    }
  }

  _fetch(method, path, data, header) {
    return new Promise((resolve, reject) => {
      wx.request({
        url: this.baseUrl + path,
        method,
        data,
        header: { "Content-Type": "application/json", ...header },
        timeout: this.timeout,
        success: (answer) => {
          if (answer.statusCode < 300) return resolve(answer.data);
          const error = new TeahouseError(answer.statusCode, problemOf(answer.data));
          error.retryAfterMs = 1000 * Number(headerOf(answer.header, "retry-after") || 0);
          return reject(error);
        },
        fail: ({ errMsg }) => reject(new TeahouseError(0, { title: errMsg, type: "/problems/no-answer" })),
      });
    });
  }
}

function mayBeRepeated(error) {
  return error.status === 0 || error.status === 429 || error.status >= 500;
}

function problemOf(data) {
  return data && typeof data === "object" ? data : {};
}

function headerOf(headers, name) {
  const found = Object.keys(headers || {}).find((key) => key.toLowerCase() === name);
  return found && headers[found];
}

function pause(milliseconds) {
  // Without chance in it, everybody who was turned away would come back at the same moment.
  return new Promise((resolve) => setTimeout(resolve, milliseconds * (0.5 + Math.random())));
}

function newKey() {
  const part = () => Math.random().toString(36).slice(2, 12);
  return `${Date.now().toString(36)}${part()}${part()}`;
}

function wechatCode() {
  return new Promise((resolve, reject) => {
    wx.login({
      success: ({ code }) => resolve(code),
      fail: ({ errMsg }) => reject(new TeahouseError(0, { title: errMsg, type: "/problems/wechat-unavailable" })),
    });
  });
}

module.exports = { Teahouse, TeahouseError };
