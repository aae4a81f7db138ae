"""An untidy page: for tidy."""
import random

draw = random.Random("page")
print("<html><head><title>Page</title><body>")
for i in range(1500):
    print(f"<div class=row{draw.randrange(9)}><p>Paragraph <b>{i} <i>with</b> tags</i> &amp; <a href=/item?id={draw.randrange(9999)}&x=1>links"
          f"</a><ul><li>one<li>two {draw.randrange(1 << 20)}<li>three</ul><table><tr><td>{draw.randrange(99)}<td>{draw.randrange(99)}</table>")
