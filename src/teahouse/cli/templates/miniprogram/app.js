const config = require("./config.js");
const { Teahouse } = require("./teahouse.js");

App({
  teahouse: new Teahouse(config),
});
