/** Arguments of options that more than one verb has. */
import { type Argument, type Command, InvalidArgumentError, type Option } from "commander";
import { parseBytes } from "../bits.js";
import { suggestion } from "../names.js";

/** Throws commander's `InvalidArgumentError` for anything but decimal digits, and for what has no exact number. */
export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("not a whole number");
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError(`more than ${Number.MAX_SAFE_INTEGER}`);
  return value;
}

/** Bytes, decimal or hexadecimal, as they are or in K, M or G. Throws as `wholeNumber`. */
export function byteCount(text: string): number {
  const value = parseBytes(text);
  if (value === null) throw new InvalidArgumentError("not a number of bytes, as 4096, 0x1000 or 4K");
  return wholeNumber(String(value));
}

/** The same, 0 refused. */
export function wholeNumberFrom1(text: string): number {
  const value = wholeNumber(text);
  if (value < 1) throw new InvalidArgumentError("not a whole number from 1");
  return value;
}

/** Restricts an option or argument to these names; of any other, the nearest is suggested. */
export function oneOf<Kind extends Option | Argument>(option: Kind, names: readonly string[]): Kind {
  option.choices(names).argParser((text: string) => {
    if (names.includes(text)) return text;
    throw new InvalidArgumentError(`Allowed choices are ${names.join(", ")}${suggestion(text, names)}.`);
  });
  return option;
}

/** Names separated by commas, each once. Throws commander's `InvalidArgumentError` where there is none. */
export function nameList(text: string): string[] {
  const names = text.split(",").filter((name) => name !== "");
  if (names.length === 0) throw new InvalidArgumentError("no name");
  return [...new Set(names)];
}

/**
 * Ends the command when one of these options was given: nothing would come of it.
 * @param attributes as commander names the options' values
 * @param why such as "needs --importer NAME"
 */
export function refuseUnused(command: Command, attributes: readonly string[], why: string): void {
  const given = command.options.find(
    (option) =>
      attributes.includes(option.attributeName()) && command.getOptionValueSource(option.attributeName()) === "cli",
  );
  if (given !== undefined) command.error(`error: ${given.long} ${why}`);
}
