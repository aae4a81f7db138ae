# Hashes, regular expressions, sorting, formats, closures, fork and pipes.
use strict;
use warnings;
$| = 1;
my %count;
my $text = join " ", map { "w" . ($_ * 7919 % 2003) . ($_ % 5 ? "ing" : "ed") } 1 .. 40000;
$count{$1}++ while $text =~ /\b(\w+?)(?:ing|ed)\b/g;
my @top = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 4];
printf "%-8s %5d\n", $_, $count{$_} for @top;
(my $swapped = $text) =~ s/(\w+) (\w+)/$2 $1/g;
print length($swapped), " ", unpack("%32C*", $swapped), "\n";
my @matrix = map { my $r = $_; [map { $r * $_ } 1 .. 100] } 1 .. 100;
print eval { my $s = 0; $s += $_ for map { @$_ } @matrix; $s }, "\n";
my @closures = map { my $n = $_; sub { $n += shift } } 1 .. 1000;
$closures[$_ % 1000]->($_) for 1 .. 20000;
print $closures[500]->(0), "\n";
for my $n (1 .. 5) {
    pipe(my $in, my $out);
    my $pid = fork // die;
    if (!$pid) {
        print $out "x" x ($n * 1000), "\n";
        close $out;
        exit $n;
    }
    close $out;
    print length(<$in>), " ";
    waitpid $pid, 0;
    print $? >> 8, "\n";
}
print scalar(`echo from a shell | tr a-z A-Z`);
die { code => 3 } if !@top;
exit 11;
