WITH monthly AS (
    SELECT
        date_trunc('month', o.placed_at) AS month,
        c.region_id,
        SUM(l.quantity * l.unit_price) AS revenue,
        COUNT(DISTINCT o.id) AS orders,
        COUNT(DISTINCT o.customer_id) AS buyers
    FROM orders o
    JOIN order_lines l ON l.order_id = o.id
    JOIN customers c ON c.id = o.customer_id
    WHERE o.status NOT IN ('cancelled', 'draft')
      AND o.placed_at >= CURRENT_DATE - INTERVAL '18 months'
    GROUP BY 1, 2
),
ranked AS (
    SELECT
        m.*,
        LAG(revenue) OVER (PARTITION BY region_id ORDER BY month) AS previous_revenue,
        RANK() OVER (PARTITION BY month ORDER BY revenue DESC) AS region_rank
    FROM monthly m
)
SELECT
    r.month,
    g.name AS region,
    r.orders,
    r.buyers,
    ROUND(r.revenue, 2) AS revenue,
    ROUND(100.0 * (r.revenue - r.previous_revenue) / NULLIF(r.previous_revenue, 0), 1) AS growth_percent
FROM ranked r
JOIN regions g ON g.id = r.region_id
WHERE r.region_rank <= 5
ORDER BY r.month DESC, r.region_rank;
