/* Each chart gets a button that saves it as an SVG file, made here from the page: the wide drawing with the rules for
   charts, in light colours. darwin-mri report --figures writes the same files. Without this script there is no button. */
const colours = {};
const rules = [...document.styleSheets[0].cssRules];
for (const rule of rules.filter(rule => rule.selectorText === ":root"))
  for (const name of rule.style) if (name.startsWith("--")) colours[name] = rule.style.getPropertyValue(name).trim();
const style = rules
  .filter(rule => rule.selectorText && rule.selectorText.startsWith(".chart"))
  .map(rule => rule.cssText)
  .concat("svg { background: #ffffff; font-family: sans-serif; }")
  .join("\n")
  .replace(/var\((--[\w-]+)\)/g, (_, name) => colours[name]);
const save = (svg, name) => {
  const copy = svg.cloneNode(true);
  const sheet = document.createElementNS("http://www.w3.org/2000/svg", "style");
  sheet.textContent = style;
  copy.prepend(sheet);
  const file = new Blob([new XMLSerializer().serializeToString(copy) + "\n"], { type: "image/svg+xml" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
};
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector(".wide svg");
  const caption = figure.querySelector("figcaption");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "save";
  button.textContent = "SVG";
  button.setAttribute("aria-label", `SVG: ${caption.textContent}`);
  const key = svg.querySelector("title").id.replace(/^fig-|-t$/g, "");
  button.addEventListener("click", () => save(svg, `${document.body.dataset.file}-${key}.svg`));
  caption.append(" ", button);
}
