/** One self-contained HTML file: no script, nothing that it would have to load. */
import { Html, html } from "./html.js";
import { STYLE } from "./style.js";

export interface Page {
  readonly title: string;
  /** What the report is of, in a line. */
  readonly subject: string;
  /** The answer, with its figure: the first thing that is read. */
  readonly answer: string;
  readonly sections: readonly Html[];
}

/** How deep a heading is: 1 is the page's, of which there is one. */
export type Level = 2 | 3 | 4 | 5;

/** Of what stands within something of this level. Throws where a page would be deeper than a reader can follow. */
export function below(level: Level): Level {
  if (level === 5) throw new RangeError("headings go down to h5");
  return (level + 1) as Level;
}

export function heading(level: Level, title: string): Html {
  return html`<h${level}>${title}</h${level}>`;
}

export function section(level: Level, title: string, ...content: readonly Html[]): Html {
  return html`<section>
${heading(level, title)}
${content}
</section>`;
}

/** A section of sections, which are of level 3, to which a link `#id` on the page leads. */
export function chapter(id: string, title: string, ...sections: readonly Html[]): Html {
  return html`<article id="${id}">
${heading(2, title)}
${sections}
</article>`;
}

/** Terms and what they mean. */
export function definitions(entries: readonly (readonly [string, string | Html])[]): Html {
  return html`<dl>${entries.map(([term, meaning]) => html`<dt>${term}</dt><dd>${meaning}</dd>`)}</dl>`;
}

/** The whole file. A browser that obeys the policy in it loads nothing, whatever names it was made from. */
export function page({ title, subject, answer, sections }: Page): string {
  return html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${new Html(STYLE)}</style>
</head>
<body>
<main>
<p class="subject">${subject}</p>
<h1>${answer}</h1>
${sections}
</main>
</body>
</html>
`.text;
}
