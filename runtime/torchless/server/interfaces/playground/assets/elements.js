// Functions that make elements and the fields of the form.

export const byId = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function field({ name, label, rows, hint, type = "text", value = "", optional = false, ...limits }) {
  const id = `field-${name}`;
  const shared = { id, name, dir: "auto", required: !optional, "aria-describedby": hint && `${id}-hint` };
  const control = rows
    ? element("textarea", { ...shared, rows })
    : element("input", { ...shared, type, autocomplete: "off", ...limits });
  if (type === "checkbox") control.checked = value;
  else control.value = value;
  const named = element("label", { for: id }, label);
  const parts = type === "checkbox" ? [control, named] : [named, control];
  if (hint) parts.push(element("p", { class: "hint", id: `${id}-hint` }, hint));
  return element("div", { class: type === "checkbox" ? "field choice" : "field" }, ...parts);
}
