import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.DescribeProducersOptions;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.common.TopicPartition;

/**
 * Asks with Kafka's own admin client who has written to partitions: BOOTSTRAP, then for each
 * question TOPIC:PARTITION or TOPIC:PARTITION:BROKER. Prints a line for each producer, in the order
 * of their ids, or the name of the error.
 */
public final class Producers {
    public static void main(String[] words) {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", words[0]))) {
            for (int at = 1; at < words.length; at++) {
                ask(admin, words[at]);
            }
        }
    }

    private static void ask(Admin admin, String question) {
        String[] parts = question.split(":");
        TopicPartition partition = new TopicPartition(parts[0], Integer.parseInt(parts[1]));
        DescribeProducersOptions options = new DescribeProducersOptions().timeoutMs(10_000);
        if (parts.length > 2) {
            options.brokerId(Integer.parseInt(parts[2]));
        }
        try {
            admin.describeProducers(List.of(partition), options)
                .partitionResult(partition).get().activeProducers().stream()
                .sorted(Comparator.comparing(ProducerState::producerId))
                .forEach(producer -> System.out.println(question + " " + producer));
        } catch (ExecutionException error) {
            System.out.println(question + " " + error.getCause().getClass().getSimpleName());
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }
}
