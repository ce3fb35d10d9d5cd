-- The dashboards. Each starts with its name and the months its date range covers; {from} and {to} are the moving literals.
-- Every ORDER BY is total, so that answers can be compared row by row.

-- monthly_profit 12: revenue, cost and net profit by month
SELECT DATE_FORMAT(transaction_date, '%Y-%m') AS month,
  SUM(CASE WHEN transaction_type = 'INVOICE' THEN amount ELSE 0 END) AS revenue,
  SUM(CASE WHEN transaction_type = 'COST' THEN amount ELSE 0 END) AS cost,
  SUM(CASE WHEN transaction_type = 'INVOICE' THEN amount ELSE 0 END)
    - SUM(CASE WHEN transaction_type = 'COST' THEN amount ELSE 0 END) AS net_profit
FROM financial_transactions
WHERE transaction_date >= '{from}' AND transaction_date < '{to}'
GROUP BY month
ORDER BY month;

-- cash_flow 12: money in and money out by month
SELECT DATE_FORMAT(transaction_date, '%Y-%m') AS month,
  SUM(CASE WHEN transaction_type = 'PAYMENT' AND status = 'SETTLED' THEN amount ELSE 0 END) AS money_in,
  SUM(CASE WHEN transaction_type = 'COST' AND status = 'SETTLED' THEN amount ELSE 0 END) AS money_out,
  COUNT(*) AS bookings
FROM financial_transactions
WHERE transaction_date >= '{from}' AND transaction_date < '{to}'
GROUP BY month
ORDER BY month;

-- by_type_and_status 3: transactions by type and status
SELECT transaction_type, status, COUNT(*) AS bookings, SUM(amount) AS total, AVG(amount) AS average
FROM financial_transactions
WHERE transaction_date >= '{from}' AND transaction_date < '{to}'
GROUP BY transaction_type, status
ORDER BY transaction_type, status;

-- project_efficiency 3: what projects of each type and status bring in for what they cost
SELECT project_type, project_status, COUNT(*) AS bookings,
  SUM(CASE WHEN transaction_type = 'INVOICE' THEN amount ELSE 0 END) AS revenue,
  SUM(CASE WHEN transaction_type = 'COST' THEN amount ELSE 0 END) AS cost,
  AVG(amount) AS average
FROM financial_transactions
WHERE transaction_date >= '{from}' AND transaction_date < '{to}'
GROUP BY project_type, project_status
ORDER BY project_type, project_status;

-- top_currencies 3: the five currencies with the highest volume
SELECT currency_code, COUNT(*) AS bookings, SUM(amount) AS volume
FROM financial_transactions
WHERE transaction_date >= '{from}' AND transaction_date < '{to}'
GROUP BY currency_code
ORDER BY volume DESC, currency_code
LIMIT 5;
