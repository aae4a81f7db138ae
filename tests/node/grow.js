// Grows until the heap's limit.
const rows = [];
for (let i = 0; ; i++) rows.push({ i, text: `row ${i}` });
