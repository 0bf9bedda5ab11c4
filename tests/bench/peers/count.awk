# Count with mawk: mawk -F, -f count.awk FILE …, or behind curl. Each file's header is a row to leave out.
$1 == "patient_id" { next }
{ records[$1 "," $3]++ }
END {
    for (pair in records) { printf "%s,%d\n", pair, records[pair]; total += records[pair] }
    printf ",,%d\n", total
}
