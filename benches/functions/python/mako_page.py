"""Renders a dashboard with Mako: an inherited layout, a function in the template, escaped cells.

Needs Mako and MarkupSafe as `requirements.txt` pins them. The templates are compiled at each
invocation, as in a cold start.
"""
import function

SIZES = {"tiny": 10, "small": 300, "full": 1900}

LAYOUT = """\
<!doctype html>
<html><head><title><%block name="title">Dashboard</%block></title></head>
<body>
${self.body()}
<footer>${footer | h}</footer>
</body></html>
"""

PAGE = """\
<%inherit file="layout.html"/>
<%block name="title">Services of ${owner | h}</%block>
<%def name="cell(value, unit='')"><td class="${'bad' if value > 900 else 'good'}">${value}${unit}</td></%def>
<table>
<tr>${''.join('<th>%s</th>' % column for column in columns)}</tr>
% for row in rows:
  <tr class="${loop.cycle('even', 'odd')}">
    <td><a href="/service/${row['name'] | u}">${row['name'] | h}</a></td>
    % for value in row['latencies']:
      ${cell(value, 'ms')}
    % endfor
    <td>${row['note'] | h,trim}</td>
    % if row['alerts']:
    <td><ul>
      % for alert in row['alerts']:
      <li>${loop.index + 1}. ${alert | h}</li>
      % endfor
    </ul></td>
    % else:
    <td>&mdash;</td>
    % endif
  </tr>
% endfor
</table>
"""


def services(count):
    """Rows with eight numbers and up to three alerts."""
    source = function.source("services")
    draw, pick = source.randrange, source.choice
    kinds = ["auth", "cart & cart", "search <beta>", "mail", "queue/in", "résumé", "stock"]
    return [{
        "name": "%s %d" % (pick(kinds), i),
        "latencies": [draw(1000) for _ in range(8)],
        "note": "  last seen %02d:%02d by \"%s\" " % (draw(24), draw(60), pick(kinds)),
        "alerts": ["%s > %d" % (pick(kinds), draw(100)) for _ in range(draw(4))],
    } for i in range(count)]


def handler(event, context):
    """Answers with the page's checksum."""
    lookup = function.need("mako.lookup").TemplateLookup()
    lookup.put_string("layout.html", LAYOUT)
    lookup.put_string("page.html", PAGE)
    rows = services(SIZES[event["size"]])
    columns = ["service"] + ["p%d" % p for p in (1, 5, 25, 50, 75, 90, 95, 99)] + ["note", "alerts"]
    page = lookup.get_template("page.html").render_unicode(
        rows=rows, columns=columns, owner="ops & friends", footer="© example")
    return function.answer(page, services=len(rows))


if __name__ == "__main__":
    function.main("mako_page", SIZES, handler)
