/** What --help says behind the options. */
import { wrap } from "../report/table.js";

const WIDTH = 100;

/** Names and what they mean, in two columns under a title. */
export function namedList(
  title: string,
  items: readonly { readonly name: string; readonly summary: string }[],
): string {
  const indent = 4 + Math.max(...items.map(({ name }) => name.length));
  const lines = items.map(
    ({ name, summary }) => `  ${name}`.padEnd(indent) + wrap(summary, WIDTH - indent).join(`\n${" ".repeat(indent)}`),
  );
  return [`${title}:`, ...lines].join("\n");
}
