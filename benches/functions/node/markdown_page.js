'use strict';
/** Renders the pages of a manual from Markdown with `marked`, which `package.json` pins. */
const shared = require('./function');

const SIZES = { tiny: 4, small: 12, full: 60 };

/** A chapter of some 2 KB: headings, emphasis, links, lists, a table, code, a quotation. */
function chapter(number, { draw, pick }) {
  const words = 'memory page object arena *list* function **process** `free(p)` cold warm start & time'.split(' ');
  const text = (count) => Array.from({ length: count }, () => pick(words)).join(' ');
  const rows = Array.from({ length: 4 + draw(6) }, () => `| ${text(2)} | ${draw(9000)} | ${draw(100)} % |`);
  return [
    `# Chapter ${number}: ${text(3)}`,
    text(50 + draw(60)),
    `See [the ${text(2)}](https://example.org/${draw(999)} "Title ${draw(9)}") and <https://example.org/${number}>.`,
    Array.from({ length: 3 + draw(5) }, (_, i) => `${i + 1}. ${text(8)}\n   - ${text(4)}\n   - [ ] ${text(5)}`).join('\n'),
    `| what | how many | share |\n| --- | ---: | :-: |\n${rows.join('\n')}`,
    `\`\`\`c\nint f${draw(99)}(void) { return ${draw(999)} < 3 && *p > 2; }\n\`\`\``,
    `> ${text(12)}\n> > ${text(7)}\n\n![figure ${number}](figure-${number}.png)\n\n---`,
    `Last ~~${text(2)}~~ word\\\nwith a break, _${text(3)}_.`,
  ].join('\n\n');
}

exports.handler = async (event, context) => {
  const { marked } = shared.need('marked');
  const random = shared.source('manual');
  const pages = Array.from({ length: SIZES[event.size] }, (_, i) => marked.parse(chapter(i + 1, random)));
  return shared.answer(pages.join('\n'), { pages: pages.length });
};

if (require.main === module) shared.main('markdown_page', SIZES, exports.handler);
