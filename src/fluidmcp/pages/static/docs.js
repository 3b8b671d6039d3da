"use strict";
// The address comes from the page, so that this file is the same for everybody and needs no inline script.
window.addEventListener("DOMContentLoaded", () => {
  const target = document.getElementById("swagger-ui");
  window.SwaggerUIBundle({
    url: target.dataset.openapiUrl,
    domNode: target,
    deepLinking: true,
    // A token typed into "Authorize" stays in this tab's memory and ends with it.
    persistAuthorization: false,
    // Without this, the page would ask a validator on the internet.
    validatorUrl: null,
    presets: [window.SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
  });
});
