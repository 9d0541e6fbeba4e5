/** Where listings lie: in one file, or in a tree as debugfs has it. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { DumpError } from "./errors.js";
import { readLines } from "./files.js";
import { type ListingSection, parseListing } from "./listing.js";

const LISTING = /^domain_translation_struct(\.gz)?$/;

async function listingsBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && LISTING.test(entry.name));
  return files.map((entry) => join(entry.parentPath, entry.name)).sort();
}

async function listingFiles(path: string): Promise<string[]> {
  try {
    return (await stat(path)).isDirectory() ? await listingsBelow(path) : [path];
  } catch (cause) {
    throw new DumpError("open", `cannot be read: ${(cause as Error).message}`, { file: path, cause });
  }
}

/**
 * Reads a file (plain or gzip), or every `domain_translation_struct` of a directory, such as
 * /sys/kernel/debug/iommu/intel or a copy of it, in the order of their paths.
 * @throws DumpError `open`, also when a directory has none; `gzip`; `malformed`
 */
export async function readListing(path: string): Promise<ListingSection[]> {
  const files = await listingFiles(path);
  if (files.length === 0) throw new DumpError("open", "no domain_translation_struct in this directory", { file: path });
  const sections: ListingSection[] = [];
  for (const file of files) sections.push(...(await parseListing(readLines(file), file)));
  return sections;
}
