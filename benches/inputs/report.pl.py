"""A Perl script: a report on an access log, by regular expressions and nested hashes."""
print(r'''
use strict; use warnings;
my (%by_path, %by_address, @slow);
open my $log, '<', $ARGV[0] or die $!;
while (my $line = <$log>) {
    next unless $line =~ m{^(\S+) \S+ \S+ \[([^\]]+)\] "(\w+) (\S+) [^"]*" (\d+) (\d+)};
    my ($address, $when, $path, $status, $bytes) = ($1, $2, $4, $5, $6);
    my ($base, $query) = split /\?/, $path, 2;
    my %fields = map { my ($k, $v) = split /=/, $_, 2; ($k => $v) } split /&/, $query;
    push @{ $by_path{$base}{$fields{id}} }, { when => $when, status => $status, bytes => $bytes };
    $by_address{$address}{$status} += $bytes;
    push @slow, join(' ', reverse split /\//, $base) if $bytes > 50000;
}
my $total = 0;
for my $path (sort keys %by_path) {
    for my $id (sort { $a <=> $b } keys %{ $by_path{$path} }) {
        $total += length sprintf "%s %d %s", $path, $id, join ',', map { $_->{when} } @{ $by_path{$path}{$id} };
    }
}
print scalar(keys %by_address), " $total ", scalar(@slow), "\n";
''')
