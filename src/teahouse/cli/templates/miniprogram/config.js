module.exports = {
  baseUrl: "http://127.0.0.1:8000",
  // Who logs in while the backend's sandbox stands in for WeChat. Remove this line before you publish.
  sandboxName: "developer",
};
