// Swagger UI over this server's own description. A token that is typed in is kept in memory alone.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: "none", persistAuthorization: false });
