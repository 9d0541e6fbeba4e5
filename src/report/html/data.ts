/** The data of a chart, in the file itself and to be downloaded: links that need neither a network nor a script. */
import { stringify } from "csv-stringify/sync";
import { type Html, html } from "./html.js";

export interface ChartData {
  /** Of the downloaded files, without extension. */
  readonly name: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number | null)[])[];
}

/** A data URL (RFC 2397): what a URL may have as it is stays readable, and short. */
export function dataUrl(type: string, text: string): string {
  const encoded = encodeURIComponent(text).replace(/%(?:2C|3A|5B|5D|7B|7D|2F|3D|2B|3B)/g, decodeURIComponent);
  return `data:${type};charset=utf-8,${encoded}`;
}

function download(name: string, type: string, title: string, text: string): Html {
  return html`<a download="${name}" href="${dataUrl(type, text)}">${title}</a>`;
}

/** Links to a chart's data as CSV (RFC 4180) and as JSON. */
export function downloads({ name, columns, rows }: ChartData): Html {
  const csv = stringify([columns, ...rows] as unknown[][]);
  const json = `${JSON.stringify({ columns, rows })}\n`;
  const links = [
    download(`${name}.csv`, "text/csv", "CSV", csv),
    download(`${name}.json`, "application/json", "JSON", json),
  ];
  return html`<p class="downloads">Data: ${links}</p>`;
}

/** A link to a whole document. */
export function documentLink(name: string, title: string, json: string): Html {
  return download(name, "application/json", title, json);
}
