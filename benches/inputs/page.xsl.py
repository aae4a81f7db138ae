"""A style sheet that makes a page of the catalogue: grouping by key, sorting, templates."""
print('''<?xml version="1.0"?>
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:output method="html"/>
<xsl:key name="by-group" match="article" use="@group"/>
<xsl:template match="/catalogue"><html><body>
<xsl:for-each select="article[generate-id() = generate-id(key('by-group', @group)[1])]">
<xsl:sort select="@group"/>
<h2><xsl:value-of select="@group"/> (<xsl:value-of select="count(key('by-group', @group))"/>)</h2>
<table><xsl:apply-templates select="key('by-group', @group)"><xsl:sort select="price" data-type="number"/></xsl:apply-templates></table>
</xsl:for-each></body></html></xsl:template>
<xsl:template match="article"><tr class="{concat('stock-', floor(@stock div 100))}"><td><xsl:value-of select="name"/></td>
<td><xsl:value-of select="concat(price, ' ', price/@currency)"/></td><td><xsl:apply-templates select="tags/tag"/></td></tr></xsl:template>
<xsl:template match="tag"><a href="{translate(., 't', 'T')}.html"><xsl:value-of select="substring-after(., 't')"/></a></xsl:template>
</xsl:stylesheet>''')
