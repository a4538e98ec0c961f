package net.example.booking;

import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Collectors;

public final class BookingService {
    private static final Duration HOLD_TIME = Duration.ofMinutes(15);

    private final BookingRepository repository;
    private final PaymentGateway payments;

    public BookingService(BookingRepository repository, PaymentGateway payments) {
        this.repository = Objects.requireNonNull(repository, "repository");
        this.payments = Objects.requireNonNull(payments, "payments");
    }

    @Transactional
    public Booking confirm(String bookingId, PaymentMethod method) throws PaymentDeclinedException {
        Booking booking = repository.findById(bookingId)
                .orElseThrow(() -> new BookingNotFoundException(bookingId));
        if (booking.getCreatedAt().plus(HOLD_TIME).isBefore(Instant.now())) {
            repository.delete(booking);
            throw new HoldExpiredException(bookingId, HOLD_TIME);
        }
        PaymentReceipt receipt = payments.charge(method, booking.getTotalPrice());
        booking.setReceiptNumber(receipt.getNumber());
        booking.setStatus(BookingStatus.CONFIRMED);
        return repository.save(booking);
    }

    public List<String> findFreeSeats(long showId) {
        return repository.findSeats(showId).stream()
                .filter(seat -> !seat.isTaken())
                .map(Seat::getLabel)
                .sorted()
                .collect(Collectors.toList());
    }
}
