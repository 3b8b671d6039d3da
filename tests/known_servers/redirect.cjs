// Loaded by NODE_OPTIONS before a server whose HTTP library asks for no agent at all, and so for none that goes through
// HTTPS_PROXY: such requests get Node's own agent, which does. What is sent stays as it is.
const https = require("node:https");

const { request } = https;
https.request = (...args) => {
  for (const options of args) {
    if (options !== null && typeof options === "object" && options.agent === false) {
      options.agent = https.globalAgent;
    }
  }
  return request(...args);
};
