/** A reader of XML 1.0 for tests: elements, attributes, text and CDATA. Throws for what is not well-formed. */
export interface Element {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: Element[];
  text: string;
}

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function unescaped(text: string): string {
  if (/[<]|[^\P{Cc}\t\n\r]/u.test(text)) throw new Error(`not allowed in text: ${JSON.stringify(text)}`);
  return text.replace(/&([^;]*;?)/g, (_, entity: string) => {
    const name = entity.replace(/;$/, "");
    const code = /^#(?:x([0-9A-F]+)|(\d+))$/i.exec(name);
    const value = code ? String.fromCodePoint(Number.parseInt(code[1] ?? code[2], code[1] ? 16 : 10)) : ENTITIES[name];
    if (value === undefined || !entity.endsWith(";")) throw new Error(`no such entity: &${entity}`);
    return value;
  });
}

export function wellFormed(text: string): Element {
  const top: Element = { name: "", attributes: {}, children: [], text: "" };
  const open = [top];
  const token =
    /<\?xml [^?]*\?>|<!\[CDATA\[([\s\S]*?)\]\]>|<(\/?)([\w:.-]+)((?:\s+[\w:.-]+="[^"<]*")*)\s*(\/?)>|([^<]+)/y;
  while (token.lastIndex < text.length) {
    const at = token.lastIndex;
    const found = token.exec(text);
    if (found === null) throw new Error(`not well-formed at ${at}: ${text.slice(at, at + 40)}`);
    const [, cdata, closing, name, attributes, empty, characters] = found;
    const inner = open[open.length - 1];
    if (cdata !== undefined) inner.text += cdata;
    else if (characters !== undefined) inner.text += unescaped(characters);
    else if (closing === "/") {
      if (inner.name !== name) throw new Error(`</${name}> ends <${inner.name}>`);
      open.pop();
    } else if (name !== undefined) {
      const pairs = [...attributes.matchAll(/([\w:.-]+)="([^"]*)"/g)].map(([, key, value]) => [key, unescaped(value)]);
      const element: Element = { name, attributes: Object.fromEntries(pairs), children: [], text: "" };
      inner.children.push(element);
      if (empty !== "/") open.push(element);
    }
  }
  if (open.length !== 1 || top.children.length !== 1) throw new Error("not one element at the top");
  return top.children[0];
}
