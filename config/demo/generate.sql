-- One block of 100,000 rows of financial_transactions: SET @block = 0, 1, 2 ... before each run.
-- Every value comes from the row's number by integer arithmetic (multiply, shift, exclusive or, modulo 2^32): the same rows on
-- every machine and in every run. Dates are the working days of 156 weeks from Monday 2023-01-02, with more rows in later
-- weeks; 8 of 20 rows are invoices, 5 payments, 6 costs, 1 an adjustment; 10 of 16 are settled.
INSERT INTO financial_transactions
  (transaction_id, project_id, transaction_type, amount, transaction_date, status, currency_code, project_type, project_status, reference, created_at)
SELECT n + 1,
  1 + h1 % 2000,
  ELT(1 + (h2 % 20 >= 8) + (h2 % 20 >= 13) + (h2 % 20 >= 19), 'INVOICE', 'PAYMENT', 'COST', 'ADJUSTMENT'),
  CAST(100 + h3 % 49900 + (h3 >> 8) % 100 * 0.01 AS DECIMAL(15,2)),
  '2023-01-02' + INTERVAL 7 * GREATEST((h1 >> 11) % 156, IF(h2 & 1, (h3 >> 12) % 156, 0)) + (h2 >> 9) % 5 DAY,
  ELT(1 + (h3 % 16 >= 1) + (h3 % 16 >= 5) + (h3 % 16 >= 15), 'DRAFT', 'APPROVED', 'SETTLED', 'CANCELLED'),
  ELT(1 + ((h2 >> 6) % 16 >= 6) + ((h2 >> 6) % 16 >= 10) + ((h2 >> 6) % 16 >= 12) + ((h2 >> 6) % 16 >= 13) + ((h2 >> 6) % 16 >= 14) + ((h2 >> 6) % 16 >= 15),
    'EUR', 'USD', 'GBP', 'CHF', 'JPY', 'SEK', 'PLN'),
  ELT(1 + h1 % 2000 % 3, 'FIXED_PRICE', 'TIME_AND_MATERIAL', 'RETAINER'),
  ELT(1 + ((h3 >> 5) % 8 >= 5) + ((h3 >> 5) % 8 >= 6), 'ACTIVE', 'ON_HOLD', 'CLOSED'),
  CONCAT('TX-', LPAD(n + 1, 9, '0')),
  '2026-01-01 00:00:00'
FROM (
  SELECT n, h1, h2, ((h2 ^ (h2 >> 13)) * 3266489917) & 4294967295 AS h3 FROM (
    SELECT n, h1, ((h1 ^ (h1 >> 15)) * 2246822519) & 4294967295 AS h2 FROM (
      SELECT n, ((n + 20231) * 2654435761) & 4294967295 AS h1 FROM (
        SELECT @block * 100000 + high.n * 1000 + low.n AS n FROM thousand high JOIN thousand low WHERE high.n < 100
      ) numbers
    ) first_hash
  ) second_hash
) third_hash;
