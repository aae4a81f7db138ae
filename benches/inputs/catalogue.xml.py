"""A catalogue of articles as XML, 3 MB."""
import random

draw = random.Random("catalogue")
print('<?xml version="1.0" encoding="UTF-8"?>\n<catalogue>')
for i in range(9000):
    tags = "".join(f'<tag rank="{draw.randrange(9)}">t{draw.randrange(300)}</tag>' for _ in range(draw.randrange(5)))
    print(f'<article id="a{i}" group="g{draw.randrange(60)}" stock="{draw.randrange(500)}"><name lang="en">Article {i}</name>'
          f'<price currency="EUR">{draw.randrange(90000) / 100:.2f}</price><text>Some words on <b>article</b> &amp; its use, '
          f'number {draw.randrange(1 << 30)}.</text><tags>{tags}</tags></article>')
print("</catalogue>")
