"""A theme with nested rules, mixins, loops and maps: for sassc."""
print('''$sizes: (xs: 0, sm: 576px, md: 768px, lg: 992px, xl: 1200px);
$colours: (primary: #336699, warn: #cc8800, danger: #aa2233, calm: #88bb99, dark: #223344);
@function step($n) { @return $n * 0.25rem; }
@mixin at($name) { @media (min-width: map-get($sizes, $name)) { @content; } }
@mixin button($colour) { color: $colour; background: lighten($colour, 40%); border: 1px solid darken($colour, 10%);
  &:hover { background: mix($colour, white, 30%); } &:active, &.active { color: invert($colour); }
  .icon { fill: rgba($colour, 0.5); + .label { margin-left: step(2); } } }
@each $size, $width in $sizes {
  @include at($size) {
    @for $i from 1 through 24 { .col-#{$size}-#{$i} { display: flex; font-weight: 500; width: percentage($i / 24); .wide > & { margin-left: percentage($i / 48); } } }
    @each $side in top, right, bottom, left { @for $i from 0 through 16 { .m-#{$side}-#{$size}-#{$i} { margin-#{$side}: step($i) !important; } } }
  }
  @each $name, $colour in $colours { .btn-#{$size}-#{$name} { @include button($colour); } }
}
@for $i from 1 through 250 { .card-#{$i} { @include button(hsl($i, 50%, 40%)); > li { a { padding: step($i % 9) step($i % 5); &:first-child { margin: 0; } } } } }''')
