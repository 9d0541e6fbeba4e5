/** Arguments of options that more than one verb has. */
import { InvalidArgumentError } from "commander";

/** Throws commander's `InvalidArgumentError` for anything but decimal digits. */
export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("not a whole number");
  return Number(text);
}
