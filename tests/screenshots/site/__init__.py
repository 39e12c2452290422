"""The project whose admin the screenshots show: mails of invoices, payouts, imports of orders."""
