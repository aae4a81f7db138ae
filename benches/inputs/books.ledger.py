"""Two years of bookkeeping: for ledger."""
import random

draw = random.Random("books")
ACCOUNTS = [f"Expenses:{a}:{b}" for a in ("Food", "Home", "Travel", "Work") for b in ("Small", "Large", "Other")]
for i in range(6000):
    print(f"2025/{1 + i // 300 % 12:02d}/{1 + i // 11 % 28:02d} * ({i}) Payee number {draw.randrange(400)}")
    print(f"    ; Tag{draw.randrange(20)}: value {draw.randrange(100)}")
    for _ in range(1 + draw.randrange(3)):
        print(f"    {draw.choice(ACCOUNTS)}:Sub{draw.randrange(12)}    {draw.randrange(1, 90000) / 100:.2f} EUR")
    print(f"    Assets:Bank{draw.randrange(4)}\n")
