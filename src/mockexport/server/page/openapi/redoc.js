// Redoc over this server's own description. Its search needs a worker made of text; the browser's own search does as well.

// Redoc shows its maker's logo, from another host. Images from other hosts are not asked for, however they are set.
const { prototype } = HTMLImageElement;
const { set, ...rest } = Object.getOwnPropertyDescriptor(prototype, "src");
const { setAttribute } = prototype;
const ours = (url) => (new URL(url, location.href).host === location.host ? url : "data:,");

Object.defineProperty(prototype, "src", { ...rest, set(url) { set.call(this, ours(url)); } });
prototype.setAttribute = function (name, value) {
  setAttribute.call(this, name, name === "src" ? ours(value) : value);
};

Redoc.init("openapi.json", { disableSearch: true }, document.getElementById("redoc"));
